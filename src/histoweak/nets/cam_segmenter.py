"""A segmenter that also says what is present, by a map of its own: decoder and CAM side by side.

Fang et al. (HisynSeg, IEEE TMI 2025): a 1x1 convolution on the encoder's last map yields a CAM
whose mean is the classification logit (Zhou et al., CVPR 2016, equation 2), beside the decoder's
logits. The head serves training alone; what is saved and applied is the segmenter.
"""

from torch import Tensor, nn

from histoweak.nets.segmenters import Segmenter, SegmenterNetConfig


class CamSegmenter(nn.Module):
    """A segmenter with a class head on the last map of its encoder.

    Args:
        config: the segmentation network.
        n_classes: K.
        dropout: share of the last map's values that training sets to zero before the head.

    Raises:
        ConfigError, WeightsError: as for `Segmenter`.
    """

    def __init__(self, config: SegmenterNetConfig, n_classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.segmenter = Segmenter(config, n_classes)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(self.segmenter.network.encoder.out_channels[-1], n_classes, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, K, H, W) and CAM (B, K, h, w), unbounded.

        Args:
            images: (B, 3, H, W) in [0, 1]. The CAM covers them exactly where H and W are multiples
                of `segmenter.multiple`, else their padded form.
        """
        features = self.segmenter.encode(images)
        cam: Tensor = self.head(self.dropout(features[-1]))
        return self.segmenter.decode(features, (images.shape[-2], images.shape[-1])), cam
