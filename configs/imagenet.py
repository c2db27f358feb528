"""ImageNet, tested also on V2, R, A and Sketch.

  python -m daft_jax.data prepare imagenet --data_dir=/data
  python -m daft_jax.main --config=configs/imagenet.py \
    --workdir=/tmp/imagenet --config.data.dir=/data \
    --config.weights_path=WEIGHTS

ID: ILSVRC 2012, 2 % of each class of train to choose by, tested on its
validation images. OOD: ImageNet-V2 (matched frequency), ImageNet-R and
ImageNet-A, where only their 200 classes compete, and ImageNet-Sketch.

Training: a random resized crop at 224 pixels, mirrored every other time. Tests
as the weights say. Not an experiment of the DAFT paper: epochs and rates are
those of its other suites, SGD with momentum 0.9 and a cosine to 0.

WEIGHTS is moco_v2_800ep_pretrain.pth.tar, for which ImageNet is not new: what
is measured is how much is lost on the four others. Training images are
read faster with `pip install 'daft_jax[fast]'` and --config.data.decoder=fast.
"""

from configs import common


def get_config(arg=''):
  config = common.get_config()
  config.suite = 'imagenet'
  config.backbone = 'resnet50'
  config.weights = 'resnet50.mocov2_800ep'
  config.methods = ('lp', 'ft', 'lp_ft', 'daft')
  config.seeds = (0,)
  config.epochs = 10
  config.batch_size = 256
  config.lrs = (1e-2, 1e-3, 1e-4)
  config.head_lrs = (1.0,)
  return common.update(config, arg)
