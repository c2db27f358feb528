"""PACS: photos, paintings, cartoons and sketches of seven things.

  python -m daft_jax.data prepare pacs --data_dir=/data
  python -m daft_jax.main --config=configs/pacs.py \
    --workdir=/tmp/pacs --config.data.dir=/data \
    --config.weights_path=resnet50-0676ba61.pth

One domain is trained on and tested on (ID; 15 % of each class to choose by and
15 % to test on), every other one is OOD:

  --config.data.domain=photo       of photo, art_painting, cartoon, sketch

Training: a random resized crop at 224 pixels, mirrored every other time. Tests
as the weights say. Not an experiment of the DAFT paper.
"""

from configs import common


def get_config(arg=''):
  config = common.paper('pacs', 'resnet50', 'resnet50.tv_in1k_v1', epochs=20)
  config.lrs = (1e-2, 1e-3, 1e-4)
  config.head_lrs = (1.0, 0.1)
  return common.update(config, arg)
