"""Character-wise text encoder: a transcription's characters become one vector.

Letters: Q texts, L characters, D channels.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.utils.registry import Registry
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..data.text import Charset
from ..layers.attention import attention

# With masked padding, texts are computed at their length, rounded up to a multiple of this.
LENGTH_STEP = 4

TEXT_ENCODER_REGISTRY = Registry("TEXT_ENCODER")
TEXT_ENCODER_REGISTRY.__doc__ = """
Text encoders. A registered class is called with the config; its `forward` maps labels (Q, L), int64
with 0 for padding, to features (Q, D), D being its attribute `out_channels`.
"""


def build_charset(cfg: CfgNode) -> Charset:
    """The alphabet that MODEL.TEXT_ENCODER names."""
    keys = cfg.MODEL.TEXT_ENCODER
    return Charset.from_name(keys.CHARSET, case_fold=keys.CASE_FOLD, unknown=keys.UNKNOWN)


def build_text_encoder(cfg: CfgNode) -> nn.Module:
    """Build the text encoder that MODEL.TEXT_ENCODER.NAME names.

    Raises:
        KeyError: if no encoder of that name is registered.
    """
    return TEXT_ENCODER_REGISTRY.get(cfg.MODEL.TEXT_ENCODER.NAME)(cfg)


class TransformerLayer(nn.Module):
    """Pre-norm transformer layer with quick GELU.

    Args:
        width: channels D.
        heads: attention heads; must divide `width`.
        layers: depth of the whole encoder, which scales the initial weights of the outputs.
    """

    def __init__(self, width: int, heads: int, layers: int):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)
        nn.init.normal_(self.qkv.weight, std=width**-0.5)
        nn.init.normal_(self.attention_out.weight, std=(2 * layers * width) ** -0.5)
        nn.init.normal_(self.mlp_in.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(self.mlp_out.weight, std=(2 * layers * width) ** -0.5)
        for linear in (self.qkv, self.attention_out):
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, attend: Tensor | None) -> Tensor:
        """Transform (Q, L, D); `attend` (Q, 1, 1, L) is False for padding, or added to logits."""
        queries, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(queries, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = attention(q, k, v, attend)
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(queries, length, width))
        hidden = self.mlp_in(self.norm2(x))
        return x + self.mlp_out(hidden * torch.sigmoid(1.702 * hidden))


@TEXT_ENCODER_REGISTRY.register()
class CharacterTextEncoder(nn.Module):
    """Embeds each character, mixes them in a transformer and averages (Sec. 3.2 of the paper).

    Args:
        vocabulary: rows of the character embedding, padding (row 0) included.
        max_length: characters L of every label sequence.
        width: channels D.
        layers: transformer layers.
        heads: attention heads; must divide `width`.
        mask_padding: leave padding out of attention and average, so that it need not be computed.
            The published weights were trained with padding in both.
        checkpoint: keep only the layers' inputs for the backward pass and compute the rest again.

    Raises:
        ValueError: if `width` is not a multiple of `heads`.
    """

    @configurable
    def __init__(
        self,
        *,
        vocabulary: int,
        max_length: int,
        width: int,
        layers: int,
        heads: int,
        mask_padding: bool,
        checkpoint: bool = False,
    ):
        super().__init__()
        if width % heads:
            raise ValueError(
                f"MODEL.TEXT_ENCODER.WIDTH {width} is not a multiple of "
                f"MODEL.TEXT_ENCODER.HEADS {heads}"
            )
        self.out_channels = width
        self.mask_padding, self.checkpoint = mask_padding, checkpoint
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(max_length, width))
        self.layers = nn.ModuleList(TransformerLayer(width, heads, layers) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, width, bias=False)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.projection.weight, std=width**-0.5)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Read MODEL.TEXT_ENCODER."""
        keys = cfg.MODEL.TEXT_ENCODER
        return {
            "vocabulary": 1 + len(build_charset(cfg)) + keys.SPARE_ROWS,
            "max_length": keys.MAX_LENGTH,
            "width": keys.WIDTH,
            "layers": keys.LAYERS,
            "heads": keys.HEADS,
            "mask_padding": keys.MASK_PADDING,
            "checkpoint": keys.CHECKPOINT,
        }

    def forward(self, labels: Tensor) -> Tensor:
        """Encode texts.

        Args:
            labels: (Q, L) int64 character labels, 0 for padding.

        Returns:
            (Q, D) text features, not normalised.
        """
        if not self.mask_padding:
            return self.encode_padded(labels)
        groups = group_by_length(labels)
        features = torch.cat([self.encode_padded(labels[rows, :length]) for length, rows in groups])
        return features[torch.cat([rows for _, rows in groups]).argsort()]

    def encode_padded(self, labels: Tensor) -> Tensor:
        """Texts (Q, l) of l <= L characters -> (Q, D)."""
        x = self.token_embedding(labels) + self.positional_embedding[: labels.shape[1]]
        seen = labels > 0
        attend = self.attention_mask(seen)
        for layer in self.layers:
            if self.checkpoint and torch.is_grad_enabled():
                x = checkpoint(layer, x, attend, use_reentrant=False)
            else:
                x = layer(x, attend)
        x = self.projection(self.norm(x))
        if not self.mask_padding:
            return x.mean(1)
        return (x * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)

    def attention_mask(self, seen: Tensor) -> Tensor | None:
        """The mask of all layers, see `TransformerLayer`, for texts (Q, l), False for padding."""
        return seen[:, None, None] if self.mask_padding else None


def group_by_length(labels: Tensor) -> list[tuple[int, Tensor]]:
    """Texts of like length, so that few places of padding are computed.

    The length at which a text is computed depends on that text alone.

    Args:
        labels: (Q, L), 0 for padding.

    Returns:
        For each length that occurs, rounded up to a multiple of `LENGTH_STEP` and at most L, that
        length and the rows of `labels`, (q,) int64.
    """
    characters = (labels > 0).sum(1).clamp(min=1)
    lengths = characters.add(LENGTH_STEP - 1) // LENGTH_STEP * LENGTH_STEP
    lengths = lengths.clamp(max=labels.shape[1])
    return [(n, (lengths == n).nonzero()[:, 0]) for n in lengths.unique().tolist()]
