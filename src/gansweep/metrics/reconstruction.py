"""How well an encoder's pictures come back: PSNR, SSIM and MS-SSIM of originals against reconstructions, streamed.

All three are torchmetrics' own classes, fed float64 grey levels in 0..255, so that the cut into batches moves nothing
but rounding. torchmetrics is imported when the first instance is made: it takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gansweep.errors import UserError

WHITE = 255.0
# Side of the Gaussian window (sigma 1.5), px: no picture, and no scale of one, may be smaller.
WINDOW_PX = 11
# Wang, Simoncelli and Bovik 2003, section 3.2: the weight of each scale, the finest first.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# SSIM holds five maps of a batch at once, in float64, and as many padded ones.
CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Reconstruction:
    """Likeness of `images` reconstructions to their originals.

    `psnr`: of the mean squared error over all pictures together, dB; so a single perfect picture does not make it
    infinite (it is when all are perfect), and it lies at or below the mean of the pictures' own PSNRs. `ssim`: mean
    over pictures, at most 1; windows over the border see the picture mirrored. `ms_ssim`: mean over pictures, 0..1,
    over `scales` scales; a scale's negative mean contrast counts as 0. Pictures too small for two have None and 0.
    """

    psnr: float
    ssim: float
    ms_ssim: float | None
    images: int
    scales: int

    def named(self) -> dict[str, float]:
        """Return what there is, by the names it is recorded under: rec_psnr, rec_ssim, rec_ms_ssim."""
        found = {"rec_psnr": self.psnr, "rec_ssim": self.ssim}
        return found if self.ms_ssim is None else {**found, "rec_ms_ssim": self.ms_ssim}


class ReconstructionQuality:
    """Streaming PSNR, SSIM and MS-SSIM of pictures of one size; memory is a few numbers and one chunk of pictures.

    Each process counts what it is given: nothing is exchanged in `compute`. UserError for pictures under 11 px.
    """

    def __init__(self, size_px: int, channels: int, device: torch.device | str = "cpu") -> None:
        from torchmetrics.image import (
            MultiScaleStructuralSimilarityIndexMeasure,
            PeakSignalNoiseRatio,
            StructuralSimilarityIndexMeasure,
        )

        if size_px < WINDOW_PX:
            raise UserError(f"SSIM looks through windows of {WINDOW_PX} px; pictures of {size_px} px are smaller")
        self.shape = (channels, size_px, size_px)
        self.device = torch.device(device)
        self.images, self.scales = 0, scales_of(size_px)
        made = {
            "psnr": PeakSignalNoiseRatio(data_range=WHITE, sync_on_compute=False),
            "ssim": StructuralSimilarityIndexMeasure(data_range=WHITE, sync_on_compute=False),
        }
        if self.scales > 1:
            weights = SCALE_WEIGHTS[: self.scales]
            made["ms_ssim"] = MultiScaleStructuralSimilarityIndexMeasure(
                betas=tuple(weight / sum(weights) for weight in weights),
                data_range=WHITE,
                # Without it a negative contrast to a broken power is nan, and one such picture the whole mean.
                normalize="relu",
                sync_on_compute=False,
            )
        self._metrics = {name: metric.set_dtype(torch.float64).to(self.device) for name, metric in made.items()}

    def update(self, originals: Tensor, rebuilt: Tensor) -> None:
        """Add uint8 pictures (B, C, H, W) and their reconstructions; ValueError for any other shape or type."""
        for what, pictures in (("originals", originals), ("reconstructions", rebuilt)):
            if pictures.dtype != torch.uint8 or pictures.shape[1:] != self.shape:
                wanted = ", ".join(str(length) for length in self.shape)
                raise ValueError(f"{what} are uint8 (B, {wanted}), got {pictures.dtype} {tuple(pictures.shape)}")
        if len(originals) != len(rebuilt):
            raise ValueError(f"{len(originals)} originals have {len(rebuilt)} reconstructions")
        channels, height, width = self.shape
        rows = max(1, CHUNK_BYTES // (10 * 8 * channels * height * width))
        for original, made in zip(originals.split(rows), rebuilt.split(rows), strict=True):
            if len(original) == 0:
                continue
            pair = [pictures.to(self.device, torch.float64) for pictures in (made, original)]
            for metric in self._metrics.values():
                metric.update(*pair)
            self.images += len(original)

    def compute(self) -> Reconstruction:
        """Return the likeness of all pictures given; ValueError when there were none."""
        if self.images == 0:
            raise ValueError("no picture was given yet")
        found = {name: float(metric.compute()) for name, metric in self._metrics.items()}
        scales = self.scales if "ms_ssim" in found else 0
        return Reconstruction(found["psnr"], found["ssim"], found.get("ms_ssim"), self.images, scales)


def scales_of(size_px: int) -> int:
    """Return on how many scales, 1 to 5, pictures of that size can be compared: 5 from 176 px, 3 at 64, 2 at 32.

    A scale needs a window's 11 px after the halvings before it; torchmetrics asks for 11 (scales - 1)^2 px besides.
    The weights of the scales there are, the finest first, are scaled to add up to 1.
    """
    fitting = [
        scales
        for scales in range(1, len(SCALE_WEIGHTS) + 1)
        if min(size_px >> (scales - 1), size_px // max(1, scales - 1) ** 2) >= WINDOW_PX
    ]
    return max(fitting, default=0)
