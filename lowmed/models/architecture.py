"""The sizes of a vision-language model, as its config.json gives them."""

from dataclasses import dataclass

PATCHES_PER_TOKEN = 4  # the vision tower merges 2 x 2 patches into one token


@dataclass(frozen=True)
class Architecture:
    """The sizes of a language model and of its vision tower. Widths in values, counts in parameters.

    Attributes:
        family: the config's `model_type`.
        gated_vision: the tower's MLPs are gated and its norms are RMSNorms without a bias.
        qk_norm: attention has norms of queries and keys instead of biases.
        patch_bias: the tower's patch embedding has a bias.
    """

    family: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    vision_depth: int
    vision_width: int
    vision_intermediate: int
    vision_out: int
    patch_values: int
    positions: int = 0
    deepstack: int = 0
    gated_vision: bool = False
    qk_norm: bool = False
    patch_bias: bool = False

    @property
    def layer_shapes(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the seven linear layers of one language layer, which are those that LoRA sits on."""
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = ((self.hidden, wide), (self.hidden, narrow), (self.hidden, narrow), (wide, self.hidden))
        mlp = ((self.hidden, self.intermediate), (self.hidden, self.intermediate), (self.intermediate, self.hidden))
        return attention + mlp

    @property
    def text_linear(self) -> int:
        """Weights of the language layers that `4bit` quantises."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.layer_shapes)

    @property
    def text_rest(self) -> int:
        """Norms and biases of the language model."""
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim
        attention = 2 * self.head_dim if self.qk_norm else biases
        return self.layers * (2 * self.hidden + attention) + self.hidden

    @property
    def embedding(self) -> int:
        """Embedding table, and the head where it is a table of its own."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def vision(self) -> int:
        """Parameters of the vision tower with its merger."""
        width, inner = self.vision_width, self.vision_intermediate
        norm = width if self.gated_vision else 2 * width
        attention = width * 3 * width + 3 * width + width * width + width
        mlp = 3 * width * inner + 2 * inner + width if self.gated_vision else 2 * width * inner + inner + width
        wide = PATCHES_PER_TOKEN * width
        merger = wide * wide + wide + wide * self.vision_out + self.vision_out
        patches = self.patch_values * width + (width if self.patch_bias else 0) + self.positions * width
        mergers = merger + norm + self.deepstack * (merger + 2 * wide)
        return patches + self.vision_depth * (attention + mlp + 2 * norm) + mergers

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.text_linear + self.text_rest + self.embedding + self.vision

    def lora(self, rank: int) -> int:
        """Parameters of an adapter of that rank on all linear layers of the language model."""
        return rank * self.layers * sum(inputs + outputs for inputs, outputs in self.layer_shapes)
