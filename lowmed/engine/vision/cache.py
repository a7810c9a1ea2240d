"""The frozen vision tower: no graph, and every distinct image encoded once.

The adapter sits on the language model alone, so a loss depends on the adapter's weights and on the *values* of the
image features, never on how they came about: their graph would end in tensors that nobody reads. And the tower treats
each image by itself (per-patch layers, attention inside one image, positions from its grid, neither dropout nor batch
statistics), so equal pixels and an equal grid have equal features: within a group of completions, over micro-batches, over
the passes of an update, and over epochs. Images are encoded one at a time, so that the features do not depend, not in
their last bit either, on what else was in the batch or already known: a resumed run meets the same ones.

Where features are stored on disk the weights leave the card until an image comes that is not stored, and leave it again
when none has come for a while. So a run over images that are all stored never has them there.
"""

import logging
from typing import Any

import torch
import xxhash
from transformers.modeling_outputs import BaseModelOutputWithPooling

from lowmed.engine.vision.feature_store import FeatureStore, open_feature_store
from lowmed.engine.vision.lru import TensorCache
from lowmed.models import FAMILIES

KEPT_BYTES = 2**30  # of main memory: 1,365 images of 256 tokens for Qwen2-VL-2B in 16 bit
HOST = torch.device("cpu")  # where the weights wait
PATIENCE = 64  # calls without a new image until they go: more than most updates make, so that a first pass keeps them


class VisionCache:
    """Stands in for the tower's `forward`; the module itself, its names and its weights stay as they are."""

    def __init__(self, module: Any, most_bytes: int = KEPT_BYTES) -> None:
        module.requires_grad_(False)
        self.module = module
        self.kept = TensorCache(most_bytes)
        self.asked = 0  # images that came by, copies counted
        self.encoded = 0
        self.stock = 0  # calls that went to the stock forward
        self.store: FeatureStore | None = None
        self._quiet = 0  # calls since the last image that had to be encoded
        self._weights = len(list(module.parameters()))
        self._versions: tuple[tuple[int, int], ...] = ()

    def __call__(self, hidden_states: torch.Tensor, grid_thw: torch.Tensor, **options: Any) -> Any:
        """The features of a batch of images, as the stock forward gives them.

        Args:
            hidden_states: [patches, 3 * 2 * 14 * 14], normalised pixels of all images, one after the other.
            grid_thw: [images, 3], patches of each in time, height and width.
            options: of the stock forward, which alone reads them.

        Returns:
            `pooler_output` [patches / 4, width of the language model], without a graph; `last_hidden_state`, which the
            language model does not read, is None.
        """
        if self.trained():
            if not self.stock:
                logging.getLogger("lowmed").warning(
                    "the vision tower is trained or carries an adapter: every image is encoded anew in every pass"
                )
            self.stock += 1
            return type(self.module).forward(self.module, hidden_states, grid_thw=grid_thw, **options)
        if self._versions != (now := self._state()):  # the first call, or somebody wrote other weights into the tower
            self.kept.clear()
            self.store = open_feature_store(self.module, hidden_states.device)
            self._versions = now
            self._quiet = PATIENCE  # every image may be stored
        with torch.inference_mode(False), torch.no_grad():  # evaluation's features must serve training too
            if self.store and self._quiet >= PATIENCE:
                self._lay(HOST)
            self._quiet += 1
            features = torch.cat(self._features(hidden_states, grid_thw))
        assert features.requires_grad is False
        return BaseModelOutputWithPooling(pooler_output=features)

    def trained(self) -> bool:
        """Whether a weight of the tower is trained, or there are more of them than when it was frozen (an adapter)."""
        weights = list(self.module.parameters())
        return len(weights) != self._weights or any(weight.requires_grad for weight in weights)

    def _features(self, pixels: torch.Tensor, grid_thw: torch.Tensor) -> list[torch.Tensor]:
        """The features of each image on the tower's device; copies share one tensor."""
        grids = grid_thw.tolist()
        here: dict[bytes, torch.Tensor] = {}
        keys = []
        patches = [frames * height * width for frames, height, width in grids]
        images, on_host = torch.split(pixels, patches), torch.split(pixels.cpu(), patches)
        for grid, image, copy in zip(grids, images, on_host, strict=True):
            key = digest(copy, grid)
            keys.append(key)
            if key in here:
                continue
            if result := self.kept.get(key):
                here[key] = result[0].to(pixels.device)
            else:
                here[key] = self._stored_or_encoded(key, image, grid)
                self.kept.put(key, here[key].cpu())
        self.asked += len(keys)
        return [here[key] for key in keys]

    def _stored_or_encoded(self, key: bytes, image: torch.Tensor, grid: list[int]) -> torch.Tensor:
        if self.store is None:
            return self._encode(image, grid)
        if (stored := self.store.get(key)) is not None:
            return stored.to(image.device)
        features = self._encode(image, grid)
        self.store.put(key, features.cpu())
        return features

    def _encode(self, image: torch.Tensor, grid: list[int]) -> torch.Tensor:
        self._lay(image.device)
        self._quiet = 0
        self.encoded += 1
        training = self.module.training
        self.module.eval()  # in train mode gradient checkpointing would put its machinery around every layer
        try:
            # Mixed precision is of the training forward; generation has none, and both must get the same features.
            with torch.autocast(image.device.type, enabled=False):
                grid_thw = torch.tensor([grid], device=image.device)
                result = type(self.module).forward(self.module, image.clone(), grid_thw=grid_thw)
        finally:
            self.module.train(training)
        features: torch.Tensor = result.pooler_output
        return features

    def _lay(self, device: torch.device) -> None:
        """Lay the weights there, all but the small first layer's: others read the whole model's device from it."""
        _first, *layers = self.module.children()
        if next(layers[-1].parameters()).device == device:
            return
        for each in layers:
            each.to(device)
        self._versions = self._state()  # a move is no change
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # else the room would be free in pieces of a weight each

    def _state(self) -> tuple[tuple[int, int], ...]:
        """Changes when a weight is written to, replaced, moved or cast."""
        return tuple((weight.data_ptr(), weight._version) for weight in self.module.parameters())


def cache_vision_tower(model: Any) -> VisionCache | None:
    """Let the model's vision tower encode each image once, and train none of it; None for a model that is not known.

    Args:
        model: a base model, before any adapter is put on it.
    """
    kind = model.config.model_type
    family = FAMILIES.get(kind)
    if family is None or not family.vision_cache:
        logging.getLogger("lowmed").warning(
            f"the vision cache does not support `{kind}`: every image is encoded again in every pass"
        )
        return None
    module = model.get_submodule(family.vision_tower)
    tower = VisionCache(module)
    module.forward = tower
    return tower


def digest(pixels: torch.Tensor, grid: list[int]) -> bytes:
    """128 bits that stand for one image: its pixels as the tower gets them, their dtype, and its grid."""
    result = xxhash.xxh3_128(f"{pixels.dtype} {grid}".encode())
    result.update(pixels.contiguous().view(torch.uint8).numpy().data)
    return result.digest()
