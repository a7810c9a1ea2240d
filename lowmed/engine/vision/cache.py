"""The frozen vision tower: no autograd graph, and every distinct image is encoded once.

The adapter is on the language model only. So a loss depends on the values of the image features but not on their graph,
which would end in weights without a gradient. The tower encodes each image independently: its layers act on patches, on
attention inside one image and on positions from its grid, without dropout or batch statistics. So equal pixels with an
equal grid have equal features, for all completions of a group and in all steps. Images are encoded one at a time, so
that features do not depend on the rest of the batch, not even in the last bit. A resumed run gets the same features.

If features are stored on disk, the weights are offloaded to the CPU until an image comes that is not stored. They are
offloaded again when no new image has come for a while. A run whose images are all stored never needs them on the GPU.
"""

import logging
from typing import Any

import torch
import xxhash
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from lowmed.engine import patches
from lowmed.engine.vision.feature_store import FeatureStore, open_feature_store
from lowmed.engine.vision.lru import TensorCache
from lowmed.models import FAMILIES

CACHE_BYTES = 2**30  # of CPU memory: 1,365 images of 256 tokens for Qwen2-VL-2B in 16 bit
OFFLOAD_DEVICE = torch.device("cpu")
# Calls without a new image until the weights are offloaded. Most steps make fewer, so that a first epoch keeps them.
CALLS_BEFORE_OFFLOAD = 64


class VisionCache:
    """Replaces the tower's `forward`. The module itself, its names and its weights stay as they are.

    Attributes:
        module: the vision tower.
        features: cached features by digest of the image, on the CPU. Those of several depths are side by side.
        requested: images in all calls so far, including copies.
        encoded: images that the tower encoded.
        uncached_calls: calls of the tower's own forward because it is trained.
        store: features on disk, or None.
    """

    def __init__(self, module: Any, max_bytes: int = CACHE_BYTES) -> None:
        module.requires_grad_(False)
        self.module = module
        self.features = TensorCache(max_bytes)
        self.requested = 0
        self.encoded = 0
        self.uncached_calls = 0
        self.store: FeatureStore | None = None
        self._calls_since_encoding = 0
        # The width of the language model; Qwen2-VL's config calls it otherwise.
        self._width: int = getattr(module.config, "out_hidden_size", module.config.hidden_size)
        self._weight_count = len(list(module.parameters()))
        self._weight_state: tuple[tuple[int, int], ...] = ()

    def __call__(self, hidden_states: torch.Tensor, grid_thw: torch.Tensor, **options: Any) -> Any:
        """The features of a batch of images, like the tower's own forward.

        Args:
            hidden_states: [patches, values], normalized pixels of all images, one after the other, in main memory or on
                the device of the tower.
            grid_thw: [images, 3], patches of each image in time, height and width.
            options: passed to the tower's own forward, which is called only if the tower is trained.

        Returns:
            `pooler_output` [image tokens, width of the language model], and in Qwen3-VL `deepstack_features`, a list of
            tensors of the same shape; without a graph. `last_hidden_state` is None, because the language model does not
            read it.
        """
        if self.is_trained():
            if not self.uncached_calls:
                logging.getLogger("lowmed").warning(
                    "the vision tower is trained or has an adapter: every image is encoded again in every pass"
                )
            self.uncached_calls += 1
            pixels = hidden_states.to(self.device)
            return type(self.module).forward(self.module, pixels, grid_thw=grid_thw, **options)
        if self._weight_state != (state := self._current_state()):  # the first call, or the weights were changed
            self.features.clear()
            self.store = open_feature_store(self.module, self.device)
            self._weight_state = state
            self._calls_since_encoding = CALLS_BEFORE_OFFLOAD  # all images may be stored
        with torch.inference_mode(False), torch.no_grad():  # features of an evaluation are also used in training
            if self.store and self._calls_since_encoding >= CALLS_BEFORE_OFFLOAD:
                self._move_weights(OFFLOAD_DEVICE)
            self._calls_since_encoding += 1
            features = torch.cat(self._features_of(hidden_states, grid_thw))
        assert features.requires_grad is False
        pooled, *deepstack = torch.split(features, self._width, dim=1)
        if not deepstack:
            return BaseModelOutputWithPooling(pooler_output=pooled)
        return BaseModelOutputWithDeepstackFeatures(pooler_output=pooled, deepstack_features=deepstack)

    @property
    def device(self) -> torch.device:
        """The device of the model: that of the first layer, which is never offloaded."""
        device: torch.device = next(self.module.parameters()).device
        return device

    def is_trained(self) -> bool:
        """Whether a weight of the tower is trained, or the tower has more weights than at the start (an adapter)."""
        weights = list(self.module.parameters())
        return len(weights) != self._weight_count or any(weight.requires_grad for weight in weights)

    def _features_of(self, pixels: torch.Tensor, grid_thw: torch.Tensor) -> list[torch.Tensor]:
        """The features of each image on the device of the model. Copies of an image share one tensor."""
        grids = grid_thw.tolist()
        by_key: dict[bytes, torch.Tensor] = {}
        keys = []
        patches_of_image = [frames * height * width for frames, height, width in grids]
        images, cpu_images = torch.split(pixels, patches_of_image), torch.split(pixels.cpu(), patches_of_image)
        for grid, image, cpu_image in zip(grids, images, cpu_images, strict=True):
            key = digest(cpu_image, grid)
            keys.append(key)
            if key in by_key:
                continue
            if cached := self.features.get(key):
                by_key[key] = cached[0].to(self.device)
            else:
                by_key[key] = self._load_or_encode(key, image.to(self.device), grid)
                self.features.put(key, by_key[key].cpu())
        self.requested += len(keys)
        return [by_key[key] for key in keys]

    def _load_or_encode(self, key: bytes, image: torch.Tensor, grid: list[int]) -> torch.Tensor:
        if self.store is None:
            return self._encode(image, grid)
        if (stored := self.store.get(key)) is not None:
            return stored.to(image.device)
        features = self._encode(image, grid)
        self.store.put(key, features.cpu())
        return features

    def _encode(self, image: torch.Tensor, grid: list[int]) -> torch.Tensor:
        self._move_weights(image.device)
        self._calls_since_encoding = 0
        self.encoded += 1
        training = self.module.training
        self.module.eval()  # in train mode every layer would be wrapped for gradient checkpointing
        try:
            # Training uses autocast and generation does not. Both must get the same features.
            with torch.autocast(image.device.type, enabled=False):
                grid_thw = torch.tensor([grid], device=image.device)
                outputs = type(self.module).forward(self.module, image.clone(), grid_thw=grid_thw)
        finally:
            self.module.train(training)
        features: torch.Tensor = outputs.pooler_output
        return torch.cat([features, *(getattr(outputs, "deepstack_features", None) or ())], dim=1)

    def _move_weights(self, device: torch.device) -> None:
        """Move all layers but the small first one, from which transformers infers the device of the whole model."""
        _first, *layers = self.module.children()
        if next(layers[-1].parameters()).device == device:
            return
        for layer in layers:
            layer.to(device)
        self._weight_state = self._current_state()  # moving does not invalidate the features
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # otherwise the freed memory is split into pieces of one weight each

    def _current_state(self) -> tuple[tuple[int, int], ...]:
        """A value that changes when a weight is written to, replaced, moved or cast."""
        return tuple((weight.data_ptr(), weight._version) for weight in self.module.parameters())


def cache_vision_tower(model: Any) -> VisionCache | None:
    """Freeze the model's vision tower and cache its features.

    Args:
        model: a base model without an adapter.

    Returns:
        The cache, or None if the family does not support it.
    """
    model_type = model.config.model_type
    family = FAMILIES.get(model_type)
    if family is None or not family.vision_cache:
        logging.getLogger("lowmed").warning(
            f"`{model_type}` trains with TRL's own trainers: every pass encodes its images again, and in GRPO every "
            "completion reads its own prompt"
        )
        return None
    module = model.get_submodule(family.vision_tower)
    cache = VisionCache(module)
    patches.replace_vision_forward(module, cache)
    return cache


def digest(pixels: torch.Tensor, grid: list[int]) -> bytes:
    """128 bits that identify an image: its processed pixels, their dtype, and its grid."""
    state = xxhash.xxh3_128(f"{pixels.dtype} {grid}".encode())
    state.update(pixels.contiguous().view(torch.uint8).numpy().data)
    return state.digest()
