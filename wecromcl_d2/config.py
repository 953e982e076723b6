"""Every configuration key that this package adds to Detectron2's defaults.

The defaults are those of the published model; the configs in `configs/quick` reduce it.
"""

from collections.abc import Collection

import torch
from detectron2.config import CfgNode


def add_wecromcl_config(cfg: CfgNode) -> None:
    """Extend `cfg` in place with the keys of stage 1, and those that both stages share.

    Args:
        cfg: a config made by `detectron2.config.get_cfg()`.
    """
    # Stage to train: "anchors", stage 1, or "spotting", stage 2.
    cfg.TASK = "anchors"
    # "cuda", "cuda:N" or "cpu", where trainings and evaluations run; by default a GPU if there is
    # one. On a machine without a GPU `load_config` replaces "cuda" by "cpu".
    cfg.MODEL.DEVICE = default_device()
    _add_backbone_keys(cfg)
    _add_image_encoder_keys(cfg)
    _add_text_encoder_keys(cfg)
    _add_wecromcl_keys(cfg)
    _add_input_keys(cfg)
    _add_data_keys(cfg)
    _add_solver_keys(cfg)
    _add_test_keys(cfg)


def default_device() -> str:
    """A GPU if there is one, otherwise the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _add_backbone_keys(cfg: CfgNode) -> None:
    # Compute the statistics of BatchNorm over the images of all GPUs that share a batch.
    cfg.MODEL.SYNC_BN = False
    # Checkpoint, for example of stage 1, whose backbone initialises that of a training; empty:
    # none.
    cfg.MODEL.BACKBONE.WEIGHTS = ""
    # Residual block of `build_resnet_bifpn_backbone`: "bottleneck" or "basic".
    cfg.MODEL.RESNETS.BLOCK = "bottleneck"
    # Blocks of res2, res3, ...; empty: the numbers of MODEL.RESNETS.DEPTH.
    cfg.MODEL.RESNETS.NUM_BLOCKS = []

    cfg.MODEL.BIFPN = CfgNode()
    # Levels that are fused, finest first; they must be successive stages of the ResNet.
    cfg.MODEL.BIFPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    # Channels of every fused level.
    cfg.MODEL.BIFPN.OUT_CHANNELS = 256
    # Number of bidirectional fusion layers (>= 1).
    cfg.MODEL.BIFPN.REPEATS = 2
    # Normalisation after the lateral convolutions, a name that `detectron2.layers.get_norm` knows.
    cfg.MODEL.BIFPN.NORM = "BN"


def _add_image_encoder_keys(cfg: CfgNode) -> None:
    cfg.MODEL.IMAGE_ENCODER = CfgNode()
    # One entry per map given to the deformable encoder: the backbone levels that are upsampled to
    # the map's stride and concatenated, coarsest first. The last map is the one that is returned.
    cfg.MODEL.IMAGE_ENCODER.MAPS = [["p4", "p3", "p2"], ["p5", "p4", "p3"]]
    # Channels that each level contributes to a map.
    cfg.MODEL.IMAGE_ENCODER.HEAD_CHANNELS = 64
    # Normalisation of the head convolutions.
    cfg.MODEL.IMAGE_ENCODER.NORM = "BN"
    # Layers of the deformable encoder; 0 returns the last map unchanged.
    cfg.MODEL.IMAGE_ENCODER.LAYERS = 6
    # Attention heads, and sampling points per head and map.
    cfg.MODEL.IMAGE_ENCODER.HEADS = 8
    cfg.MODEL.IMAGE_ENCODER.POINTS = 4
    # Hidden width of the feed-forward blocks.
    cfg.MODEL.IMAGE_ENCODER.FEEDFORWARD = 256
    # Dropout rate inside the encoder layers.
    cfg.MODEL.IMAGE_ENCODER.DROPOUT = 0.1
    # Gradient checkpointing: the deformable layers are computed again in the backward pass, which
    # needs less memory and more time. Results do not change.
    cfg.MODEL.IMAGE_ENCODER.CHECKPOINT = False


def _add_text_encoder_keys(cfg: CfgNode) -> None:
    cfg.MODEL.TEXT_ENCODER = CfgNode()
    # Name in TEXT_ENCODER_REGISTRY.
    cfg.MODEL.TEXT_ENCODER.NAME = "CharacterTextEncoder"
    # "wecromcl" (the published 69 characters), "alnum", or a UTF-8 file with one character per
    # line.
    cfg.MODEL.TEXT_ENCODER.CHARSET = "wecromcl"
    # Compare texts without case.
    cfg.MODEL.TEXT_ENCODER.CASE_FOLD = True
    # Characters outside the charset: "drop" removes them from a text, "error" stops and names them.
    cfg.MODEL.TEXT_ENCODER.UNKNOWN = "drop"
    # Characters of a transcription that are encoded; the rest is cut off.
    cfg.MODEL.TEXT_ENCODER.MAX_LENGTH = 25
    # Width of the transformer and of the text feature.
    cfg.MODEL.TEXT_ENCODER.WIDTH = 512
    cfg.MODEL.TEXT_ENCODER.LAYERS = 12
    cfg.MODEL.TEXT_ENCODER.HEADS = 8
    # Rows of the character embedding beyond padding and charset; the published table has one.
    cfg.MODEL.TEXT_ENCODER.SPARE_ROWS = 1
    # False: padding characters attend and are averaged, as in the published weights.
    cfg.MODEL.TEXT_ENCODER.MASK_PADDING = False
    # Gradient checkpointing of the layers, as in MODEL.IMAGE_ENCODER.
    cfg.MODEL.TEXT_ENCODER.CHECKPOINT = False


def _add_wecromcl_keys(cfg: CfgNode) -> None:
    cfg.MODEL.WECROMCL = CfgNode()
    # Width of keys, values and pooled feature; must equal the width of the text feature.
    cfg.MODEL.WECROMCL.EMBED_DIM = 512
    # Initial value of the learned temperature tau, by which similarities are divided.
    cfg.MODEL.WECROMCL.TEMPERATURE = 0.07
    # Exclude cells of padding from every softmax and from the deformable encoder.
    cfg.MODEL.WECROMCL.MASK_PADDING = True
    # Side in cells (odd) of the window of which a peak is the maximum.
    cfg.MODEL.WECROMCL.PEAK_WINDOW = 5
    # Of equal cells in one window "first" takes the first in row-major order as the peak, "all"
    # takes all of them, as published.
    cfg.MODEL.WECROMCL.PEAK_TIES = "first"
    # Point of an anchor: "peak", the center of the peak's cell as published, or "mean", the
    # centroid of the map over that window.
    cfg.MODEL.WECROMCL.ANCHOR = "peak"
    # Least distance in cells between the anchors of an image's words: of two words with closer
    # peaks the one with the lower score gets the next peak of its map. 0 places each word
    # independently, as published.
    cfg.MODEL.WECROMCL.ANCHOR_DISTANCE = 0.0
    # Strongest peaks of a map among which a word takes the one whose surroundings, a window of
    # PEAK_WINDOW cells, are most similar to its text, over all factors of PYRAMID. 1: the strongest
    # peak, as published, of the factor at which the whole region is most similar.
    cfg.MODEL.WECROMCL.PEAK_CANDIDATES = 1
    # Image pyramid at inference: factors of the network input's sides. Each word takes its anchor
    # from the scale at which region and text are most similar. One factor of 1: no pyramid.
    cfg.MODEL.WECROMCL.PYRAMID = [1.0]


def _add_input_keys(cfg: CfgNode) -> None:
    # Side lengths of the network input are rounded up to a multiple of this many pixels.
    cfg.INPUT.SIZE_DIVISIBILITY = 32
    # "shortest_edge": Detectron2's rule; a shortest side of 0 keeps the size of images, except that
    # a longer side above MAX_SIZE_TRAIN or MAX_SIZE_TEST is shrunk to it (0: never).
    # "multiple": the published rule. No antialiasing; the shorter side becomes one of
    # MIN_SIZE_TRAIN or MIN_SIZE_TEST, less where the longer one would exceed MAX_SIZE_*; then both
    # are rounded up to SIZE_DIVISIBILITY, so the aspect ratio changes slightly. A MIN_SIZE_TEST of
    # 0 makes the longer side MAX_SIZE_TEST.
    cfg.INPUT.RESIZE = "shortest_edge"

    # Words of fewer characters are ignored in training, labelling and evaluation; the release's
    # converters of real sets keep words of 3 and more.
    cfg.INPUT.MIN_TEXT_LENGTH = 1

    # Stage 2 only: raise an error for training records without points. False: for spotters that
    # learn from texts alone.
    cfg.INPUT.REQUIRE_POINTS = True
    # Stage 2 only: the crop of Detectron2's INPUT.CROP, off by default. CROP.TYPE is either
    # "relative_range", sides drawn between CROP.SIZE (height, width) and 1 as shares of the image's
    # before its resize, or "absolute", CROP.SIZE in pixels after the resize. An image whose words
    # are too close together for any crop is not cropped, but limited to MAX_SIZE_TRAIN.
    # Least distance (m) of the crop's border from the point of any word, inside or outside, as a
    # share of the crop's shorter side.
    cfg.INPUT.CROP.MARGIN = 0.06
    # Radius, in pixels of the network input, of the ignored area around the point of the crop's
    # border that is nearest to a word outside the crop.
    cfg.INPUT.CROP.IGNORE_RADIUS = 32.0

    # Augmentations of training images, all off by default.
    cfg.INPUT.AUG = CfgNode()
    # Largest rotation in either direction, in degrees.
    cfg.INPUT.AUG.ROTATION = 0.0
    # Probability of a rotation.
    cfg.INPUT.AUG.ROTATION_PROB = 1.0
    # Colour of the corners after a rotation: "mean", the PIXEL_MEAN with which batches are padded,
    # or "black" as published.
    cfg.INPUT.AUG.ROTATION_BORDER = "mean"
    # Probability of a blur: Gaussian, average, median, bilateral or motion.
    cfg.INPUT.AUG.BLUR_PROB = 0.0
    # Probability of colour jitter, and its limits: largest relative changes of brightness, contrast
    # and saturation, and of hue in turns of the colour circle.
    cfg.INPUT.AUG.JITTER_PROB = 0.0
    cfg.INPUT.AUG.JITTER = [0.5, 0.5, 0.5, 0.5]

    # Points that stage 2 is trained on: "points" of the label file, or "polygons", the centers of
    # its outlines, which are ground-truth points for comparison.
    cfg.INPUT.POINT_SOURCE = "points"


def _add_data_keys(cfg: CfgNode) -> None:
    # Share of each dataset of DATASETS.TRAIN in the images that are drawn, of any sum. Empty: each
    # image is drawn equally often, so that large datasets rule.
    cfg.DATASETS.PROPORTIONS = ()

    cfg.DATALOADER.SAMPLING = CfgNode()
    # Query texts sampled per image (paper: 1); fewer if the image has fewer texts unique in the
    # batch.
    cfg.DATALOADER.SAMPLING.NUM_QUERIES = 1
    # Number K of negatives per image.
    cfg.DATALOADER.SAMPLING.NUM_NEGATIVES = 16
    # Name in NEGATIVE_SAMPLERS: "random" draws K for each image as published, "shared" K for the
    # batch, "hard" K for each image that are similar in spelling to its queries, "none" draws none.
    cfg.DATALOADER.SAMPLING.NEGATIVES = "random"
    # UTF-8 file with one text per line that negatives are drawn from, as published. Empty:
    # negatives come from the training transcriptions, so they cannot be told by spelling alone.
    cfg.DATALOADER.SAMPLING.VOCABULARY = ""
    # "both": no image of a batch contains a query of another. "earlier", as published: an image may
    # contain a query of one drawn before it; the loss then treats a matching pair as a negative.
    cfg.DATALOADER.SAMPLING.EXCLUSION = "both"
    # Share of the words that may be queries: those of highest `similarity` in label files that
    # `wecromcl anchors` wrote. Words of other files all may.
    cfg.DATALOADER.SAMPLING.SELF_PACED = 1.0
    # When two texts are equal: "labels", if the text encoder gets equal labels for them, or
    # "spelling", as published, by which "HOTEL" may be a negative for the query "Hotel".
    cfg.DATALOADER.SAMPLING.COMPARE = "labels"

    # Stage 2: times that a drawn image is in its batch, each time augmented anew. It must divide
    # the batch; SPTS was published with 2.
    cfg.DATALOADER.COPIES = 1


def _add_solver_keys(cfg: CfgNode) -> None:
    # All random choices of a run follow from this number, 0 or more.
    cfg.SEED = 0

    # Number format of mixed precision, which SOLVER.AMP.ENABLED turns on: "float16" or "bfloat16".
    # On a CPU only bfloat16 is used, if the processor has instructions for it.
    cfg.SOLVER.AMP.PRECISION = "float16"

    # Batches whose gradients are averaged for each update; MAX_ITER counts updates. Accumulation
    # averages losses; it does not enlarge the pool of negatives.
    cfg.SOLVER.ACCUMULATION = 1
    # "SGD" or "AdamW".
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Update all weights in one pass, PyTorch's "fused" optimisers: faster, and equal within
    # rounding.
    cfg.SOLVER.FUSED = False
    # Learning rate of the backbone relative to that of the other modules.
    cfg.SOLVER.BACKBONE_FACTOR = 1.0
    # Exponent of the additional schedules "PolyLR" and, with Detectron2's warm-up, "WarmupPolyLR":
    # (1 - t / MAX_ITER) ** POLY_POWER.
    cfg.SOLVER.POLY_POWER = 0.9

    # Curriculum: phases on other datasets before the rest of the training on DATASETS.TRAIN; none
    # by default.
    cfg.SOLVER.CURRICULUM = CfgNode()
    # Names of the datasets of each phase (list of lists).
    cfg.SOLVER.CURRICULUM.DATASETS = []
    # Iterations of each phase.
    cfg.SOLVER.CURRICULUM.ITERS = []
    # Images per batch of each phase.
    cfg.SOLVER.CURRICULUM.IMS_PER_BATCH = []


def _add_test_keys(cfg: CfgNode) -> None:
    # Metric, by its name in metrics.json, at whose best value weights are stored as
    # `model_best.pth`; empty: never.
    cfg.TEST.BEST_METRIC = ""
    # "robust", or "official": count exactly as the published scripts, with errors where they fail;
    # in stage 2 also at the published thresholds of SPTS.
    cfg.TEST.MODE = "robust"
    # Stage 2: further rows of results, each without a lexicon and with each of TEST.LEXICONS:
    # "end_to_end", "word_spotting", "edit_distance" (nearest text, as published for NPTS) and
    # "bag_of_words".
    cfg.TEST.PROTOCOLS = ()
    # "published" for the lexicons in the folder `lexicons` of a benchmark, or "KIND=FILE" with KIND
    # one of full, weak, strong (folder of lists) and generic.
    cfg.TEST.LEXICONS = ()

    # Metrics of stage 1 without any position, "retrieval/...": each image is asked for its own
    # words and for words of other images.
    cfg.TEST.RETRIEVAL = CfgNode()
    # Number K of words of other images per image; 0 for no such metrics.
    cfg.TEST.RETRIEVAL.NUM_NEGATIVES = 20
    # Seed that draws them.
    cfg.TEST.RETRIEVAL.SEED = 0
    # Factor of the image's sides at which anchors are found once more, to see whether they stay;
    # 0 for none.
    cfg.TEST.RETRIEVAL.SECOND_SCALE = 0.75

    # Score threshold of the metrics of stage 2, unless a metric's name says otherwise; choose it on
    # validation data.
    cfg.TEST.SPOTTING_THRESHOLD = 0.5


# Keys of Detectron2 that nothing here reads: the value they must keep, and what there is instead.
UNUSED_KEYS: dict[str, tuple[object, str]] = {
    "DATALOADER.SAMPLER_TRAIN": (
        "TrainingSampler",
        "DATALOADER.SAMPLING says how batches of stage 1 are drawn; stage 2 shuffles each epoch",
    ),
    "DATALOADER.REPEAT_THRESHOLD": (0.0, "DATASETS.PROPORTIONS says how often a dataset is drawn"),
    "DATALOADER.ASPECT_RATIO_GROUPING": (
        True,
        "images of any sizes share a batch, whose padding is masked",
    ),
    "TEST.AUG.ENABLED": (False, "INPUT.MIN_SIZE_TEST says at which size images are read"),
    "TEST.PRECISE_BN.ENABLED": (False, "BatchNorm keeps the running statistics of training"),
}


def check_unused_keys(cfg: CfgNode) -> None:
    """Make sure that a config sets no key that would have no effect.

    Raises:
        ValueError: naming the key and what to use instead.
    """
    for key, (default, instead) in UNUSED_KEYS.items():
        value = cfg
        for part in key.split("."):
            value = value[part]
        if value != default:
            raise ValueError(f"{key} has no effect here, so leave it at {default!r}: {instead}")


def check_choice(key: str, value: str, known: Collection[str]) -> None:
    """Check that a config's value is a known one.

    Raises:
        ValueError: naming the key, its value and the known values.
    """
    if value not in known:
        raise ValueError(f"{key} is {value!r}; use one of {sorted(known)}")
