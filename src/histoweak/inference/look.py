"""Class maps and the logits of windows in one pass, whatever the network pools by."""

from torch import Tensor, nn

from histoweak.nets.pooled import PooledNetwork
from histoweak.objectives.pooling import box_max, box_mean


def look(network: nn.Module, images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Class maps of images, and logits of windows in them.

    The logits are the means of the maps, unless the network brings its own pooling along.

    Args:
        network: yields class maps.
        images: (B, 3, H, W) in [0, 1].
        boxes: (N, 5): item index, then x0 y0 x1 y1 in pixels of the images.

    Returns:
        (B, K, h, w) and (N, K).
    """
    height, width = images.shape[-2:]
    if not isinstance(network, PooledNetwork):
        maps = network(images)
        return maps, box_mean(maps, boxes, (maps.shape[2] / height, maps.shape[3] / width))
    activations = network.activations(images)
    cells = network.pooled_map(activations)
    scale = (cells.shape[2] / height, cells.shape[3] / width)
    pool = box_max if network.pooling == "max" else box_mean
    return network.maps(activations), network.logits(pool(cells, boxes, scale))
