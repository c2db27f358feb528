"""Office-Home: 65 things in four domains.

  python -m daft_jax.data prepare office_home --data_dir=/data
  python -m daft_jax.main --config=configs/office_home.py \
    --workdir=/tmp/office_home --config.data.dir=/data \
    --config.weights_path=resnet50-0676ba61.pth

One domain is trained on and tested on (ID; 15 % of each class to choose by and
15 % to test on), every other one is OOD:

  --config.data.domain=real_world       of art, clipart, product, real_world

Training: a random resized crop at 224 pixels, mirrored every other time. Tests
as the weights say. Not an experiment of the DAFT paper.
"""

from configs import common


def get_config(arg=''):
  config = common.paper(
    'office_home', 'resnet50', 'resnet50.tv_in1k_v1', epochs=20
  )
  config.lrs = (1e-2, 1e-3, 1e-4)
  config.head_lrs = (1.0, 0.1)
  return common.update(config, arg)
