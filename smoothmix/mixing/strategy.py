"""What all strategies share: the draws, the p-coin and the call."""

import math
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from smoothmix.mixing.blend import blend, to_targets


@dataclass(kw_only=True, eq=False)
class Strategy:
    """A callable ``(images, labels) -> (images, targets)`` on a batch.

    A strategy is a subclass, a dataclass too, that says how to draw its masks, in `sample`. The rest is here: with
    probability `p` (Algorithm 1) every image is blended with a partner, drawn by a random permutation of the batch, and
    its label too.

    All numbers are drawn on the images' device and none is read by the host, so that a step can be captured in a CUDA
    graph (a generator of one's own must be registered with the graph).

    Args:
        num_classes: number of classes K.
        p: probability of mixing, in [0, 1].
        per_sample: draw a mask and a p-coin for each image instead of one for the whole batch.
        ignore_index: of label maps: a pixel with this index has no class, so that its targets sum to 0 and it adds
            nothing to the cross-entropy. The default is torch's.
        generator: source of all randomness, on the images' device; None is the device's default generator. A public
            attribute: set it, or save its state, at any time. In a worker process of a `DataLoader`, whose copies would
            all draw the same, it is seeded anew, once, from its own next number and the seed of the worker.

    Raises:
        ValueError: `num_classes` below 1 or `p` outside [0, 1].
    """

    num_classes: int
    p: float
    per_sample: bool
    ignore_index: int = field(default=-100, repr=False)
    generator: torch.Generator | None = field(default=None, repr=False)
    _seed_of_worker: int | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.num_classes, Integral) or self.num_classes < 1:
            raise ValueError(
                f"num_classes is {self.num_classes!r}: pass the number of classes, a whole number above 0."
            )
        self.num_classes = int(self.num_classes)
        if not 0 <= self.p <= 1:
            raise ValueError(f"p is {self.p}: pass the probability of mixing, between 0 and 1.")

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            images: (N, C, H, W), float32, bfloat16 or float16, of any memory format. Not modified.
            labels: (N,), class indices, or (N, K), class probabilities; label maps, as of segmentation, are (N, H, W)
                or (N, K, H, W). On a GPU an index outside [0, K) makes NaN targets, so that the loss shows it (see
                `smoothmix.mixing.to_targets`).

        Returns:
            Images in the shape, dtype and memory format of `images`, and targets, float32, which sum to 1 over the
            classes where the labels do: (N, K), or (N, K, H, W) of label maps, whose every pixel is weighted by the
            mask there. What the coin leaves unmixed equals the input bit for bit.

        Raises:
            TypeError, ValueError: images or labels of a wrong type or shape, a class index outside [0, K) on a CPU, or
                a generator on another device.
        """
        targets = self.targets(images, labels)
        mask = self.draw_mask(images)
        partner = self.draw_partner(images)
        return blend(images, targets, partner, mask)

    def targets(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the labels as class probabilities, float32; see `smoothmix.mixing.blend.to_targets`."""
        return to_targets(images, labels, self.num_classes, self.ignore_index)

    def sample(self, n: int, size: tuple[int, int], device: torch.device | str) -> Tensor:
        """Draw `n` masks for images of `size` (H, W): float32, (n, 1, H, W) or (n, 1, 1, 1), the image's own share."""
        raise NotImplementedError(f"{type(self).__name__} must say how to draw its masks, in sample().")

    def draw_mask(self, images: Tensor) -> Tensor:
        """Draw the masks for a batch, one or one per image, and toss the p-coin: where it says no, the mask is ones."""
        self._prepare_generator(images)
        n = images.shape[0] if self.per_sample else 1  # len() would be frozen by a compiler
        height, width = images.shape[-2:]
        mask = self.sample(n, (height, width), images.device)
        coin = self.uniform(n, 0, 1, images.device)
        return mask if self.p == 1 else mask.masked_fill((coin >= self.p).view(-1, 1, 1, 1), 1)

    def draw_partner(self, images: Tensor) -> Tensor:
        """Draw a permutation of the batch, int64 (N,): the partner of every image, which may be itself."""
        self._prepare_generator(images)
        # The order of random keys, not torch.randperm: a draw and a sort are one code path on the device for any N,
        # with nothing for the host to wait on, so a CUDA graph can hold them.
        return self.uniform(images.shape[0], 0, 1, images.device).argsort()

    def uniform(self, n: int, low: float, high: float, device: torch.device | str) -> Tensor:
        """Draw `n` numbers from U(low, high), float32 (n,)."""
        numbers = torch.rand(n, dtype=torch.float32, device=device, **self._source)
        if high - low != 1:
            numbers.mul_(high - low)
        return numbers.add_(low) if low else numbers

    def whole(self, n: int, below: int, device: torch.device | str) -> Tensor:
        """Draw `n` whole numbers from 0 to `below` - 1, int64 (n,)."""
        return torch.randint(below, (n,), device=device, **self._source)

    def beta(self, n: int, alpha: float, device: torch.device | str) -> Tensor:
        """Draw `n` numbers from Beta(alpha, alpha), float32 (n,).

        A ratio of gamma draws, g1 / (g1 + g2). A draw of Gamma(alpha) is one of Gamma(alpha + 1) times U^(1/alpha), and
        with a small alpha both underflow; hence the ratio is taken of their logarithms, sigmoid(log g1 - log g2).
        """
        if alpha == 1:
            return self.uniform(n, 0, 1, device)
        shape = torch.full((2, n), alpha + 1.0, dtype=torch.float32, device=device)
        log_gamma = torch._standard_gamma(shape, **self._source).log()
        # 1 - U lies in (0, 1], where the logarithm is finite.
        log_uniform = torch.log1p(-torch.rand(2, n, dtype=torch.float32, device=device, **self._source))
        # Below 1e-30 the draw is a fair coin anyway, and the quotient would no longer fit into float32.
        first, second = log_gamma + log_uniform / max(alpha, 1e-30)
        return torch.sigmoid(first - second)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled. A process that is spawned cannot open the state of a generator, but its bytes."""
        state = self.__dict__.copy()
        if self.generator is not None:
            state["generator"] = str(self.generator.device), bytes(self.generator.get_state().tolist())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if state["generator"] is not None:
            device, drawn = state["generator"]
            self.generator = torch.Generator(device)
            self.generator.set_state(torch.tensor(list(drawn), dtype=torch.uint8))

    @property
    def _source(self) -> dict[str, Any]:
        """The keyword that names a generator of one's own; compilers refuse even None there."""
        return {} if self.generator is None else {"generator": self.generator}

    def _prepare_generator(self, images: Tensor) -> None:
        if self.generator is None:
            return
        if self.generator.device.type != images.device.type:
            raise ValueError(
                f"the generator is on {self.generator.device} and the images on {images.device}: "
                f"build it with torch.Generator(device={images.device.type!r})."
            )
        worker = get_worker_info()
        if worker is not None and worker.seed != self._seed_of_worker:
            own = torch.randint(2**62, (), device=self.generator.device, generator=self.generator)
            self.generator.manual_seed(int(own) ^ worker.seed)
            self._seed_of_worker = worker.seed


def check_alpha(alpha: float) -> None:
    """Raise ValueError unless `alpha` can be both parameters of a Beta distribution."""
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha is {alpha}: pass the parameter of the Beta distribution, a finite number above 0.")
