"""Configuration keys of SPTS."""

from detectron2.config import CfgNode


def add_spts_config(cfg: CfgNode) -> None:
    """Extend `cfg` in place with the keys of SPTS; the defaults are those of the published model.

    MODEL.TEXT_ENCODER.CHARSET defines its charset, as in stage 1.
    """
    cfg.MODEL.SPTS = CfgNode()
    keys = cfg.MODEL.SPTS
    # Backbone output that is encoded, by name.
    keys.IN_FEATURE = "res5"
    # "sequence": all words in one sequence (SPTS). "iad_prd": first a sequence of all points, then
    # the texts at all points in parallel (SPTSv2).
    keys.DECODER = "sequence"
    # False leaves the coordinates out of the sequence (NPTS); for the decoder "sequence" only.
    keys.POINTS = True
    # "padded": each text is padded to MAX_LENGTH tokens, as published. "compact": each text ends
    # with an end token.
    keys.LAYOUT = "padded"
    # Order of the words in training. "random": drawn anew each time, as published. "raster": by
    # row, then by column; needs points, and words without one come last.
    keys.ORDER = "random"
    # Bins per coordinate; both image sides are divided into this many (published: 1000).
    keys.BINS = 1000
    # Most words of a sequence and most characters of a word. Of an image with more words the
    # shortest are learned, of equally long ones the first; longer words are cut.
    keys.MAX_WORDS = 60
    keys.MAX_LENGTH = 25

    # Attention of the image encoder. "global": each cell attends to all. "window": to the cells of
    # its window (SPTSv2).
    keys.ENCODER = "global"
    keys.ENCODER_LAYERS = 6
    keys.DECODER_LAYERS = 6
    # Channels of the transformer, its attention heads, and hidden channels of its feed-forward
    # blocks.
    keys.WIDTH = 256
    keys.HEADS = 8
    keys.FEEDFORWARD = 1024
    # Dropout rate of encoder and decoder.
    keys.DROPOUT = 0.1
    # Stochastic depth of the encoder "window": drop rate of the last layer; the rates of the
    # earlier layers rise linearly from 0.
    keys.DROP_PATH = 0.2

    keys.LOSS = CfgNode()
    # Weight of the end-of-sequence token; all other tokens have weight 1.
    keys.LOSS.EOS_WEIGHT = 0.01
    # True: the published loss, plain cross-entropy over all tokens, padding of texts included,
    # point weights ignored; of more than MAX_WORDS words a random choice is learned. False: only
    # the first padding token of a text counts, each word has the weight of its point, and the
    # target of a coordinate is spread over neighbouring bins.
    keys.LOSS.OFFICIAL = False

    keys.TEST = CfgNode()
    # Added to the logit of the end-of-sequence token; below 0, more words are predicted.
    keys.TEST.EOS_BIAS = 0.0
    # True: published points and scores, that is the lower edges of bins, the mean probability of a
    # word's tokens, of which padding behind the first is taken as certain, and no guard against
    # loops. False: see docs/SPTS.md.
    keys.TEST.OFFICIAL = False
    # Of predicted words with equal texts closer than this share of the image's diagonal, only the
    # one of highest score is kept; 0 keeps all.
    keys.TEST.DUPLICATE_DISTANCE = 0.015
