"""`wecromcl convert` on tiny tensors under all published names."""

import hashlib
import pickle
import re

import numpy as np
import pytest
import torch

from wecromcl_d2.cli import convert as tool
from wecromcl_d2.engine.loading import load_model
from wecromcl_d2.stage1.checkpoint_names import (
    OFFICIAL_IDLE_SHAPES,
    convert_weights,
    official_names,
    resnet_names,
    to_official,
)
from wecromcl_d2.tasks import load_config

QUICK = "configs/quick/anchors.yaml"


@pytest.fixture
def model():
    """A state with all our names, tiny tensors and matrices that are not square."""
    shapes = {
        "text_encoder.projection.weight": (2, 3),
        "text_encoder.token_embedding.weight": (5, 2),
        "activation.channel_proj.weight": (4, 3),
    }
    state = {name: torch.randn(shapes.get(name, (2,))) for name in official_names().values()}
    for name in state:
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
    return state


@pytest.fixture
def official(model):
    return to_official(model).weights


def save(weights, path):
    torch.save(weights, path)
    return path


def test_matrices_turn_on_the_way(model, official):
    projection = model["text_encoder.projection.weight"]
    assert torch.equal(official["text_projection"], projection.t())
    channels = model["activation.channel_proj.weight"]
    assert official["channel_to_512.0.weight"].shape == (4, 3, 1, 1)
    assert torch.equal(official["channel_to_512.0.weight"].flatten(1), channels)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_there_and_back(model, official, tmp_path, prefix):
    there, back = tmp_path / "there.pth", tmp_path / "back.pth"
    source = save({prefix + k: v for k, v in official.items()}, tmp_path / "official.pth")
    tool.convert_file("official", source, there, model)
    converted = torch.load(there, weights_only=True)["model"]
    assert converted.keys() == model.keys()
    assert all(torch.equal(converted[name], model[name]) for name in model)
    tool.convert_file("ours", there, back, model, prefix=prefix)
    returned = torch.load(back, weights_only=True)
    assert returned.keys() == {prefix + name for name in official}
    assert all(torch.equal(returned[prefix + name], official[name]) for name in official)


def test_the_idle_classifier_is_said_to_be_dropped(model, official, tmp_path, capsys):
    source = save(official, tmp_path / "official.pth")
    tool.convert_file("official", source, tmp_path / "out.pth", model)
    printed = capsys.readouterr().out
    for name in OFFICIAL_IDLE_SHAPES:
        assert f"not used, because no model computes with it: {name}\n" in printed


def test_a_partial_load_is_refused_unless_wanted(model, official, tmp_path, capsys):
    del official["logit_scale"]
    official["extra.weight"] = torch.zeros(1)
    source, output = save(official, tmp_path / "official.pth"), tmp_path / "out.pth"
    with pytest.raises(tool.WeightsError, match="does not fit, see the names above"):
        tool.convert_file("official", source, output, model)
    printed = capsys.readouterr().out
    assert "missing: logit_scale\n" in printed and "not used: extra.weight\n" in printed
    assert not output.exists()
    tool.convert_file("official", source, output, model, partial=True)
    assert "logit_scale" not in torch.load(output, weights_only=True)["model"]


def test_torchvision_fills_the_backbone(model, tmp_path):
    weights = {
        name: model[f"backbone.bottom_up.{ours}"]
        for name, ours in resnet_names().items()
        # The file of 2015 has no counters.
        if not name.endswith("num_batches_tracked")
    }
    weights |= {"fc.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}
    source = save(weights, tmp_path / "resnet50.pth")
    output = tmp_path / "out.pth"
    tool.convert_file("torchvision", source, output, model)
    converted = torch.load(output, weights_only=True)["model"]
    names = {name for name in model if name.startswith("backbone.bottom_up.")}
    assert converted.keys() == names
    key = "layer3.5.bn2.running_var"
    ours = "backbone.bottom_up.res4.5.conv2.norm.running_var"
    assert torch.equal(converted[ours], weights[key])
    assert converted["backbone.bottom_up.stem.conv1.norm.num_batches_tracked"] == 0


@pytest.mark.parametrize("prefix", ["", "backbone.bottom_up."])
def test_detectron2_pickles_fill_the_backbone(model, tmp_path, prefix):
    arrays = {
        prefix + name: model[f"backbone.bottom_up.{name}"].numpy()
        for name in resnet_names().values()
    }
    arrays |= {"stem.fc.weight": np.zeros(1, np.float32)}
    source = tmp_path / "R-50.pkl"
    content = {"model": arrays, "__author__": "torchvision", "matching_heuristics": True}
    source.write_bytes(pickle.dumps(content))
    tool.convert_file("detectron2", source, tmp_path / "out.pth", model)
    converted = torch.load(tmp_path / "out.pth", weights_only=True)["model"]
    assert len(converted) == len(resnet_names())
    assert all(torch.equal(value, model[name]) for name, value in converted.items())


class Malice:
    def __reduce__(self):
        return (print, ("this was run",))


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_code_in_a_pickle_is_never_run(tmp_path, capsys, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(pickle.dumps({"model": {"logit_scale": Malice()}}, protocol=2))
    with pytest.raises(tool.WeightsError, match="perhaps code"):
        tool.read_weights(path)
    torch.save({"model": {"logit_scale": Malice()}}, path)
    with pytest.raises(tool.WeightsError):
        tool.read_weights(path)
    assert "this was run" not in capsys.readouterr().out


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(official, tmp_path, share):
    path = save(official, tmp_path / "official.pth")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(tool.WeightsError, match=r"official\.pth"):
        tool.read_weights(path)


@pytest.mark.parametrize("content", [[], {}, {"logit_scale": "high"}, {"model": {}}])
def test_a_file_without_weights_is_refused(tmp_path, content):
    path = save(content, tmp_path / "weights.pth")
    with pytest.raises(tool.WeightsError, match=r"weights\.pth holds"):
        tool.read_weights(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(tool.WeightsError, match=r"nothing\.pth does not exist"):
        tool.read_weights(tmp_path / "nothing.pth")


def test_another_alphabet_is_recognised(model, official, tmp_path):
    official["token_embedding.weight"] = torch.zeros(6, 2)
    source = save(official, tmp_path / "official.pth")
    with pytest.raises(tool.WeightsError, match=r"token_embedding.*\(6, 2\).*\(5, 2\).*alphabet"):
        tool.convert_file("official", source, tmp_path / "out.pth", model)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 1), (1, 2, 3, 1, 1)])
@pytest.mark.parametrize("name", ["text_projection", "channel_to_512.0.weight"])
def test_matrices_of_wrong_dimensions_are_refused(model, official, tmp_path, name, shape):
    official[name] = torch.zeros(shape)
    source = save(official, tmp_path / "official.pth")
    with pytest.raises(tool.WeightsError, match="but the model has"):
        tool.convert_file("official", source, tmp_path / "out.pth", model)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("source", ["official", "ours"])
def test_weights_that_are_not_finite_are_refused(model, official, tmp_path, value, source):
    weights = {"official": official, "ours": model}[source]
    name = {"official": "ln_final.bias", "ours": "text_encoder.norm.bias"}[source]
    weights[name][0] = value
    path = save(weights, tmp_path / "weights.pth")
    with pytest.raises(tool.WeightsError, match=r"text_encoder\.norm\.bias .* not finite"):
        tool.convert_file(source, path, tmp_path / "out.pth", model)


@pytest.mark.parametrize("source", ["official", "torchvision", "detectron2", "ours"])
def test_weights_of_another_model_are_refused(model, tmp_path, source):
    path = save({"encoder.conv.weight": torch.zeros(3)}, tmp_path / "weights.pth")
    with pytest.raises(tool.WeightsError, match=f"no weight that --source {source} knows"):
        tool.convert_file(source, path, tmp_path / "out.pth", model)


def test_a_model_of_another_config_is_noticed(model, official, tmp_path):
    source = save(official, tmp_path / "official.pth")
    del model["image_encoder.encoder.level_embed"]
    with pytest.raises(tool.WeightsError, match=r"has no image_encoder.*choose another --config"):
        tool.convert_file("official", source, tmp_path / "out.pth", model)


def test_the_command_line_ends_with_the_reason(tmp_path, capsys):
    source = ["--source", "official", "--config-file", "configs/quick/anchors.yaml"]
    files = [str(tmp_path / "nothing.pth"), str(tmp_path / "out.pth")]
    assert tool.main([*source, *files]) == 2
    assert re.fullmatch(
        r"wecromcl convert: .*nothing\.pth does not exist.*\n", capsys.readouterr().err
    )


def test_a_spotter_is_never_converted_in_part(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        tool.main(["--source", "spts", "--partial", "a.pth", str(tmp_path / "b.pth")])
    assert stop.value.code == 2
    assert "--partial cannot be used with --source spts" in capsys.readouterr().err


@pytest.fixture
def trained(tmp_path):
    """A checkpoint of the quick anchor detector, as a training leaves it, and its state."""
    state = tool.model_state(QUICK)
    save({"model": state, "optimizer": {"state": {}}, "iteration": 7}, tmp_path / "model.pth")
    return tmp_path / "model.pth", state


def test_a_trained_model_becomes_a_small_file_that_loads(trained, tmp_path, capsys):
    path, state = trained
    small = tmp_path / "small.pth"
    assert tool.main(["--source", "trained", "--config-file", QUICK, str(path), str(small)]) == 0
    loaded = load_model(load_config(QUICK), str(small)).state_dict()
    assert loaded.keys() == state.keys()
    for name, value in loaded.items():
        if name in ("pixel_mean", "pixel_std"):
            continue
        assert value.dtype == state[name].dtype
        rounding = 2**-11 if value.ndim > 1 and value.is_floating_point() else 0
        torch.testing.assert_close(value, state[name], rtol=rounding, atol=2**-25 * (rounding > 0))
    assert small.stat().st_size < 0.6 * path.stat().st_size
    checksum = hashlib.sha256(small.read_bytes()).hexdigest()
    assert f"SHA-256 {checksum}" in capsys.readouterr().out


def test_a_trained_model_with_values_beyond_half_precision_is_refused(trained, tmp_path):
    path, state = trained
    state["text_encoder.projection.weight"][0, 0] = 1e5
    save({"model": state}, path)
    with pytest.raises(tool.WeightsError, match=r"projection\.weight .*65,504"):
        tool.convert_trained_file(path, tmp_path / "small.pth", state)
    assert not (tmp_path / "small.pth").exists()


def test_a_trained_model_of_another_config_is_refused(trained, tmp_path):
    path, state = trained
    with pytest.raises(tool.WeightsError, match=r"has no extra\.weight; choose another"):
        tool.convert_trained_file(
            path, tmp_path / "small.pth", state | {"extra.weight": torch.zeros(1)}
        )


@pytest.mark.parametrize("arguments", [[], ["--config-file", "x.yaml", "--partial"]])
def test_a_trained_model_needs_its_config_and_is_whole(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        tool.main(["--source", "trained", *arguments, "a.pth", "b.pth"])
    assert stop.value.code == 2
    assert "needs the --config-file of the training" in capsys.readouterr().err


def test_every_source_name_goes_to_one_of_ours():
    names = official_names()
    assert len(names) == len(set(names.values())) == 666
    with pytest.raises(KeyError):
        convert_weights({}, "unknown")
