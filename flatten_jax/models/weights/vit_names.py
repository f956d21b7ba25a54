# SPDX-License-Identifier: Apache-2.0
"""Names of Vision Transformers: ViT, TimeSformer, ViViT, VTN and VidTr.

A video model may start as an image ViT, in the names of timm or of Google.
"""

from flax import nnx

from flatten_jax.models.weights.naming import LEAVES, Naming, Rules, translate

# timm's ViT. The other models name their parts as an encoder 0, see below.
_TIMM: Rules = (
  *LEAVES,
  (r'^embeds\.0', 'patch_embed.proj'),
  (r'^(cls_token|pos_embed)s\.0', r'\1'),
  (r'^norms\.0', 'norm'),
  (r'^stages\.0', 'blocks'),
  (r'^(blocks\.\d+)\.(qkv|proj)', r'\1.attn.\2'),
  (r'\.(fc\d)', r'.mlp.\1'),
)
_HUGGING_FACE: Rules = (
  *LEAVES,
  (r'^embeds\.0', 'embeddings.patch_embeddings.projection'),
  (r'^cls_tokens\.0', 'embeddings.cls_token'),
  (r'^pos_embeds\.0', 'embeddings.position_embeddings'),
  (r'^time_embed', 'embeddings.time_embeddings'),
  (r'^norms\.0', 'layernorm'),
  (r'^head', 'classifier'),
  (r'^stages\.0', 'encoder.layer'),
  (r'temporal_norm1', 'temporal_layernorm'),
  (r'temporal_fc', 'temporal_dense'),
  (r'\.norm1', '.layernorm_before'),
  (r'\.norm2', '.layernorm_after'),
  (r'(\d\.)(qkv|proj)', r'\1attn.\2'),
  (r'attn\.qkv', 'attention.attention.qkv'),
  (r'attn\.proj', 'attention.output.dense'),
  (r'\.fc1', '.intermediate.dense'),
  (r'\.fc2', '.output.dense'),
)
_APART: Rules = ((r'attention\.qkv', 'attention.{query,key,value}'),)

# Scenic's, without the names of encoders.
_FLAX: Rules = (
  (r'\.norm1', '.LayerNorm_0'),
  (r'\.norm2', '.LayerNorm_1'),
  (r'\.qkv', '.MultiHeadDotProductAttention_0.{query,key,value}'),
  (r'\.proj', '.MultiHeadDotProductAttention_0.out'),
  (r'\.fc1', '.MlpBlock_0.Dense_0'),
  (r'\.fc2', '.MlpBlock_0.Dense_1'),
  (r'^embeds\.0', 'embedding'),
)
# Files from before Flax's Linen count all layers of a block together.
_PRE_LINEN: Rules = (
  (r'LayerNorm_1', 'LayerNorm_2'),
  (r'Attention_0', 'Attention_1'),
  (r'MlpBlock_0', 'MlpBlock_3'),
)

_VIDTR: Rules = (
  (r'\.qkv\.kernel', '.self_attn.in_proj_weight'),
  (r'\.qkv\.bias', '.self_attn.in_proj_bias'),
  *LEAVES,
  (r'\.proj\.', '.self_attn.out_proj.'),
  (r'\.fc(\d)', r'.linear\1'),
  (r'^embeds\.0', 'conv_stem'),
  (r'^stages\.0', 'encoder.layers'),
  (r'^norms\.0', 'encoder.norm'),
  (r'^pos_embeds\.0', 'pos_embedding'),
  (r'^head', 'fc'),
)

# timm's ViT as a backbone, and Hugging Face's Longformer as encoder 1.
_VTN: Rules = (
  (
    r'^\w+\.0\..*|^(cls_tokens|pos_embeds)\.0$',
    lambda match: f'backbone.{translate(match[0], _TIMM)}',
  ),
  *LEAVES,
  (r'^stages\.1', 'temporal_encoder.encoder.layer'),
  (r'(layer\.\d+\.)qkv', r'\1attention.self.{query,key,value}'),
  (r'(layer\.\d+\.)proj', r'\1attention.output.dense'),
  (r'(layer\.\d+\.)norm1', r'\1attention.output.LayerNorm'),
  (r'(layer\.\d+\.)norm2', r'\1output.LayerNorm'),
  (r'(layer\.\d+\.)fc1', r'\1intermediate.dense'),
  (r'(layer\.\d+\.)fc2', r'\1output.dense'),
  (r'^frame_embed', 'temporal_encoder.embeddings.position_embeddings.weight'),
  (r'^type_embed', 'temporal_encoder.embeddings.token_type_embeddings.weight'),
  (r'^embed_norm', 'temporal_encoder.embeddings.LayerNorm'),
  (r'^cls_tokens\.1', 'cls_token'),
  (r'^neck_norm', 'mlp_head.0'),
  (r'^neck', 'mlp_head.1'),
  (r'^head', 'mlp_head.4'),
)


def _flax(*encoders: str, head: str = 'head', pre_linen: bool = False) -> Rules:
  """Returns Flax's names of models with one encoder, or of space and time."""
  rules = _FLAX + (_PRE_LINEN if pre_linen else ())
  for i, name in enumerate(encoders):
    cls = f'cls_{name}' if encoders[1:] else 'cls'
    rules += (
      (rf'^stages\.{i}\.(\d+)', rf'{name}.encoderblock_\1'),
      (rf'^norms\.{i}', f'{name}.encoder_norm'),
      (rf'^cls_tokens\.{i}', cls),
      (rf'^pos_embeds\.{i}', f'{name}.posembed_input.pos_embedding'),
    )
  return (*rules, (r'^head', head))


def _images(before: Rules = ()) -> dict[str, Naming]:
  """Returns the names of image ViTs, after rules that rename ours."""
  return {
    'vit': Naming(before + _TIMM, image=True),
    'vit_flax': Naming(before + _flax('Transformer'), flax=True, image=True),
    'vit_pre_linen': Naming(
      before + _flax('Transformer', pre_linen=True), flax=True, image=True
    ),
  }


def vivit(model: nnx.Module) -> dict[str, Naming]:
  """Returns the names of a ViViT, of one encoder or of two."""
  encoders = ('Transformer',)
  if len(model.stages) > 1:
    encoders = ('SpatialTransformer', 'TemporalTransformer')
  head = 'output_projection'
  names = {
    'scenic': Naming(_flax(*encoders, head=head), flax=True),
    'scenic_pre_linen': Naming(
      _flax(*encoders, head=head, pre_linen=True), flax=True
    ),
  }
  if len(encoders) == 1:
    rules = (*_HUGGING_FACE, *_APART, (r'^(?!classifier)', 'vivit.'))
    names['hugging_face'] = Naming(rules)
  return names | _images()


# Parts of a ViT and of a TimeSformer, which have one encoder.
_ENCODER_0: Rules = (
  (r'^(cls_token|pos_embed)$', r'\1s.0'),
  (r'^norm\.', 'norms.0.'),
)
VIT = {
  'timm': Naming((*_ENCODER_0, *_TIMM)),
  'google': Naming(
    (*_ENCODER_0, *_flax('Transformer', pre_linen=True)), flax=True
  ),
  'google_linen': Naming((*_ENCODER_0, *_flax('Transformer')), flax=True),
  'hugging_face': Naming(
    (*_ENCODER_0, *_HUGGING_FACE, *_APART, (r'^(?!classifier)', 'vit.'))
  ),
}
TIMESFORMER = {
  'facebook': Naming((*_ENCODER_0, *_TIMM, (r'^', 'model.'))),
  'hugging_face': Naming(
    (*_ENCODER_0, *_HUGGING_FACE, (r'^(?!classifier)', 'timesformer.'))
  ),
  **_images(_ENCODER_0),
}
VTN = {'vtn': Naming(_VTN), **_images()}
VIDTR = {
  'gluonmm': Naming(_VIDTR),
  # The authors' `vit_inflate.pth`, an image ViT in VidTr's names.
  'gluonmm_image': Naming((*_VIDTR, (r'^cls_[st]$', 'cls')), image=True),
  **_images(((r'^cls_[st]$', 'cls_tokens.0'),)),
}
