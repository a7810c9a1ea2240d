"""The dimensions of a model, from its config.json."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """The dimensions of a language model and its vision tower, if it has one.

    Attributes:
        family: `model_type` in config.json.
        hidden: width of the hidden states.
        intermediate: width of the MLPs.
        layers: number of decoder layers.
        heads: number of query heads.
        kv_heads: number of key and value heads.
        head_dim: width of one head.
        vocabulary: number of tokens in the vocabulary.
        tied: whether lm_head and the embeddings share one table.
        vision_depth: number of blocks of the vision tower.
        vision_width: width of its blocks.
        vision_intermediate: width of its MLPs.
        vision_out: width of its output features.
        patch_values: pixel values of one patch: channels x frames x side x side.
        positions: learned position embeddings of the tower; 0 for rotary ones.
        deepstack: number of tower blocks whose features are also merged into the language model.
        gated_vision: whether the tower has gated MLPs and RMSNorms; otherwise plain MLPs and LayerNorms.
        qk_norm: whether attention normalizes queries and keys.
        qkv_bias: whether the projections to queries, keys and values have biases.
        patch_bias: whether the patch embedding has a bias.
        patches_per_token: patches of the vision tower that become one token.
        image_side: side in pixels that every image is resized to; 0 if sizes vary.
        image_tokens: tokens of every image; 0 if they vary.
        layer_norms: norms of one decoder layer, without those of queries and keys.
        vision_others: parameters of the vision part outside patches, positions and blocks, with `image_side`.
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
    vision_depth: int = 0
    vision_width: int = 0
    vision_intermediate: int = 0
    vision_out: int = 0
    patch_values: int = 0
    positions: int = 0
    deepstack: int = 0
    gated_vision: bool = False
    qk_norm: bool = False
    qkv_bias: bool = True
    patch_bias: bool = False
    patches_per_token: int = 4
    image_side: int = 0
    image_tokens: int = 0
    layer_norms: int = 2
    vision_others: int = 0

    @property
    def layer_shapes(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of the seven linear layers of one decoder layer. The adapter is on all of them."""
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = ((self.hidden, wide), (self.hidden, narrow), (self.hidden, narrow), (wide, self.hidden))
        mlp = ((self.hidden, self.intermediate), (self.hidden, self.intermediate), (self.intermediate, self.hidden))
        return attention + mlp

    @property
    def text_linear(self) -> int:
        """Number of weights in the linear layers of the language model, which `load_in: 4bit` quantizes."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.layer_shapes)

    @property
    def text_rest(self) -> int:
        """Number of weights in norms and biases of the language model."""
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim if self.qkv_bias else 0
        norms = 2 * self.head_dim if self.qk_norm else 0
        return self.layers * (self.layer_norms * self.hidden + biases + norms) + self.hidden

    @property
    def embedding(self) -> int:
        """Number of weights in the embedding table, and in lm_head if it is not tied."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def vision(self) -> int:
        """Number of parameters of the vision tower and its merger."""
        width, inner = self.vision_width, self.vision_intermediate
        norm = width if self.gated_vision else 2 * width
        attention = width * 3 * width + 3 * width + width * width + width
        mlp = 3 * width * inner + 2 * inner + width if self.gated_vision else 2 * width * inner + inner + width
        patches = self.patch_values * width + (width if self.patch_bias else 0) + self.positions * width
        tower = patches + self.vision_depth * (attention + mlp + 2 * norm)
        if self.image_side:
            return tower + self.vision_others
        wide = self.patches_per_token * width
        merger = wide * wide + wide + wide * self.vision_out + self.vision_out
        return tower + merger + norm + self.deepstack * (merger + 2 * wide)

    @property
    def parameters(self) -> int:
        """Number of parameters of the model."""
        return self.text_linear + self.text_rest + self.embedding + self.vision

    def lora(self, rank: int) -> int:
        """Number of parameters of a LoRA adapter of this rank."""
        return rank * self.layers * sum(inputs + outputs for inputs, outputs in self.layer_shapes)
