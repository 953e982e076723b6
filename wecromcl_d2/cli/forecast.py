"""What a training or a pipeline says of itself beforehand: images, time and memory."""

from collections.abc import Mapping
from typing import Any

# Name of the file with the forecast of a training, in its OUTPUT_DIR.
FORECAST = "forecast.json"


def duration(seconds: float) -> str:
    """Seconds as text with a suitable unit."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def print_forecast(title: str, forecast: Mapping[str, Any]) -> None:
    """Print a result of `measure_training`.

    Args:
        title: of the training.
        forecast: that is printed.
    """
    print(f"\nForecast of {title}: {_total(forecast)}")
    for phase in forecast["phases"]:
        print(f"  {_phase(phase)}")
    if forecast["evaluations"]:
        seconds = duration(forecast["evaluation_seconds"])
        count = forecast["evaluations"]
        print(f"  {seconds}: {count} evaluation{'s' if count > 1 else ''}")
    if forecast["warning"]:
        print(f"  warning: {forecast['warning']}")
    print(flush=True)


def _total(forecast: Mapping[str, Any]) -> str:
    count = forecast["processes"]
    where = f"{count} process{'es' if count > 1 else ''} on {forecast['device']}"
    memory = f"{forecast['memory_gb']:.1f} GB of memory"
    if forecast["gpu_memory_gb"]:
        memory += f" and {forecast['gpu_memory_gb']:.1f} GB of each GPU's"
    return f"{duration(forecast['seconds'])} in {where}, {memory}"


def _phase(phase: Mapping[str, Any]) -> str:
    """How long a phase takes, and how many of its images it sees."""
    names, images, drawn = ", ".join(phase["datasets"]), phase["images"], phase["drawn"]
    if not drawn:
        return f"never: {names}, {images} images, for which SOLVER.MAX_ITER leaves no iteration"
    seen = f"about {drawn / images:.1f} times each" if drawn >= images else f"{drawn} at most"
    return (
        f"{duration(phase['seconds'])}: {phase['iterations']} iterations on {names}, of whose "
        f"{images} images it sees {seen}"
    )
