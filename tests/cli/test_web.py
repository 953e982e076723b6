"""The command of the page: which models it loads, and what it refuses."""

import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("uvicorn", reason="the extra `web` is not installed")

from tests.fake_spotter import write_model
from tests.web.server import write_scenes
from wecromcl_d2.__main__ import main


@pytest.fixture
def never_run(monkeypatch, tmp_path):
    """The application that would have been served; no model comes with the package."""
    monkeypatch.setattr("wecromcl_d2.shipped_models.models_folder", lambda: tmp_path / "none")
    apps = []

    def run(app, listening):
        listening.close()
        apps.append(app)

    monkeypatch.setattr("wecromcl_d2.web.run.run", run)
    return apps


def test_the_page_is_served_where_it_says(tmp_path, never_run, capsys):
    labels = write_scenes(tmp_path)
    model = map(str, write_model(tmp_path))
    status = main(
        ["web", "--port", "0", "--spotter", *model, "--labels", f"{labels}@{tmp_path / 'photos'}"]
    )
    said = capsys.readouterr()
    assert status == 0 and len(never_run) == 1
    assert said.out.startswith("http://127.0.0.1:") and "without 'find'" in said.err


def test_an_address_for_others_is_pointed_out(tmp_path, never_run, capsys):
    labels = write_scenes(tmp_path)
    main(["web", "--host", "0.0.0.0", "--port", "0", "--labels", f"{labels}@{tmp_path / 'photos'}"])
    assert "there is no password" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nowhere"], "no model is called 'nowhere'"),
        (["--port", "70000"], "--port is 70000"),
        (["--max-side", "-1"], "--max-side is -1"),
        (["--device", "banana"], "'banana' is no device"),
        (["--labels", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--spotter", "nowhere.yaml", "nowhere.pth"], "nowhere.yaml does not exist"),
    ],
)
def test_wrong_commands_end_with_a_sentence(arguments, message, never_run, capsys):
    try:
        status = main(["web", *arguments])
    except SystemExit as end:
        status = end.code
    assert (status, message in capsys.readouterr().err, never_run) == (2, True, [])


def test_a_port_that_is_taken_is_named(tmp_path, capsys, monkeypatch):
    labels = write_scenes(tmp_path)
    arguments = ["web", "--labels", f"{labels}@{tmp_path / 'photos'}", "--port"]
    first = []

    def run(app, listening):
        first.append(listening)
        if len(first) == 1:
            port = str(listening.getsockname()[1])
            assert main([*arguments, port]) == 2
            assert f"port {port}" in capsys.readouterr().err
        listening.close()

    monkeypatch.setattr("wecromcl_d2.web.run.run", run)
    assert main([*arguments, "0"]) == 0
    assert len(first) == 1


def test_without_its_packages_the_command_names_them(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["web"]) == 2
    assert "pip install starlette uvicorn" in capsys.readouterr().err
