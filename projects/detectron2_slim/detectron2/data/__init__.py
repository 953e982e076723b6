"""Dataset registries, loaders, samplers and the path from a dataset dict to model input."""

# ruff: noqa: F401, I001
from . import transforms
from .build import build_batch_data_loader, build_detection_test_loader
from .build import build_detection_train_loader, get_detection_dataset_dicts
from .catalog import DatasetCatalog, Metadata, MetadataCatalog
from .common import DatasetFromList, MapDataset, ToIterableDataset
from . import samplers
