"""Configuration keys of SPTS."""

from detectron2.config import CfgNode


def add_spts_config(cfg: CfgNode) -> None:
    """Extend `cfg` in place with the keys of SPTS; the defaults are the published model's.

    Its alphabet is that of MODEL.TEXT_ENCODER.CHARSET, as in stage 1.
    """
    cfg.MODEL.SPTS = CfgNode()
    keys = cfg.MODEL.SPTS
    # Level of the backbone that is encoded, one of its output names.
    keys.IN_FEATURE = "res5"
    # "sequence": words one after the other (SPTS). "iad_prd": first all points, then all words at
    # once (SPTSv2).
    keys.DECODER = "sequence"
    # False leaves the coordinates out of the sequence (NPTS); for the decoder "sequence" only.
    keys.POINTS = True
    # "padded": each word fills MAX_LENGTH places, as published. "compact": it ends with a token.
    keys.LAYOUT = "padded"
    # Order of the words in training: "random", drawn anew each time, or "raster", from top to
    # bottom, which needs points. Words without a point come last.
    keys.ORDER = "random"
    # Steps into which width and height of an image are divided.
    keys.BINS = 1000
    # Words of a sequence, and characters of a word. Of an image with more words the shortest are
    # learned, the first ones among equally long ones; of a longer word its beginning.
    keys.MAX_WORDS = 60
    keys.MAX_LENGTH = 25

    # "global": every cell attends to all. "window": to those of its window (SPTSv2).
    keys.ENCODER = "global"
    keys.ENCODER_LAYERS = 6
    keys.DECODER_LAYERS = 6
    # Channels of the transformer, its attention heads, and the hidden width of its blocks.
    keys.WIDTH = 256
    keys.HEADS = 8
    keys.FEEDFORWARD = 1024
    # Dropout rate of encoder and decoder.
    keys.DROPOUT = 0.1
    # For the encoder "window": side of a window in cells, and the rate at which the last layer is
    # skipped in training; that of the others rises to it from 0.
    keys.WINDOW = 5
    keys.DROP_PATH = 0.2

    keys.LOSS = CfgNode()
    # Weight of the token that ends a sequence; the others have 1.
    keys.LOSS.EOS_WEIGHT = 0.01
    # Published form: plain cross-entropy over all tokens, padding of words included, without the
    # weights of points. Otherwise only the first padding of a word counts, a word counts with the
    # weight of its point, and a coordinate's target is spread over neighbouring bins.
    keys.LOSS.OFFICIAL = False

    keys.TEST = CfgNode()
    # Added to the logit of the token that ends a sequence: less than 0 finds more words.
    keys.TEST.EOS_BIAS = 0.0
    # Of words of one text that lie nearer to each other than this share of the image's diagonal
    # the best is kept; 0 keeps all.
    keys.TEST.DUPLICATE_DISTANCE = 0.015
