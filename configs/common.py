"""Every field of a config, its default and what it means.

A config of one's own is a short file beside this one:

  from configs import common

  def get_config(arg=''):
    config = common.get_config()
    config.epochs = 20
    return common.update(config, arg)

Where a field has several values it is a tuple, and the experiment is the grid
of them. On the command line, after the file or as a flag of its own:

  --config=configs/x.py:methods=ft+daft,seeds=0+1,epochs=5
  --config.epochs=5 --config.optimizer.momentum=0.8

`daft_jax/settings/rules.py` says which values are allowed.
"""

import ml_collections
from ml_collections import config_dict

from daft_jax import settings


def get_config() -> ml_collections.ConfigDict:
  """The defaults: four methods on handwritten digits, one seed."""
  config = ml_collections.ConfigDict()

  # What is fine-tuned on what.
  # The benchmark, a row of daft_jax/data/suites.py.
  config.suite = 'digits'
  # The model, one of daft_jax.list_models().
  config.backbone = 'resnet14_cifar'
  # Its weights, one of daft_jax.list_pretrained(), or 'scratch': random. None:
  # the first of the backbone's.
  config.weights = config_dict.placeholder(str)
  # A file to read them from; default: where the tag says they are.
  config.weights_path = config_dict.placeholder(str)
  # Height and width of the images; None: those the weights were trained on.
  config.image_size = config_dict.placeholder(int)
  # Of the computation: 'float32' or 'bfloat16'. Parameters are float32.
  config.dtype = 'float32'
  # What stays in memory for the gradient: 'none' recomputes nothing; 'stages'
  # keeps the input of each stage and computes it once more (docs/steps.md).
  config.remat = 'none'

  # The grid.
  # Rows of daft_jax/methods.py.
  config.methods = ('lp', 'ft', 'lp_ft', 'daft')
  # Each decides order, augmentation and random heads.
  config.seeds = (0,)
  # Learning rates of all that trains but a head with a rate of its own.
  config.lrs = (0.01,)
  # Learning rates of the head, for methods where it has its own: numbers, or
  # 'auto', from the features it is trained on (daft_jax/head_rate.py).
  config.head_lrs = (1.0,)

  # Which of their combinations are tried (daft_jax/search.py): 'grid', all;
  # 'paper', the rates at the first head rate, then the best of them at the
  # others; 'wide', the same over ten rates and five head rates; 'halving', all
  # for a ninth of the epochs, the best third for a third, the best of those to
  # the end; 'auto', a good rate in at most three times the time of one run.
  config.search = 'grid'

  # Training.
  # Of every stage that trains by gradients.
  config.epochs = 10
  # Images in a step, over all devices.
  config.batch_size = 64
  # Into how many micro-batches a step cuts it, to compute one after another
  # and in less memory (docs/steps.md).
  config.grad_accum_steps = 1
  # Over how many of its images a BatchNorm takes statistics in training; 0: all
  # (of a micro-batch).
  config.bn_group_size = 0
  # The same bits on 1, 2, 4 and 8 devices: batches are computed as eight parts,
  # in training each with BatchNorm statistics of its own (docs/steps.md).
  config.elastic = False
  # Images at a time where nothing trains.
  config.eval_batch_size = 256
  # Training augmentation, one of daft_jax/data/augment.py; None: the suite's.
  config.augment = config_dict.placeholder(str)
  # Where a loss or a gradient is not finite: 'stop' ends the trial before that
  # step, as diverged; 'skip' leaves the batch out and counts it.
  config.nonfinite = 'stop'
  # New BatchNorm statistics: 'pooled' (exact) or 'batch_mean' (the authors').
  config.bn_estimator = 'pooled'

  config.optimizer = ml_collections.ConfigDict()
  # 'sgd' or 'adamw'.
  config.optimizer.name = 'sgd'
  # Of AdamW: beta 1.
  config.optimizer.momentum = 0.9
  # Look-ahead momentum of SGD.
  config.optimizer.nesterov = False
  # SGD adds it times the parameter to the gradient; AdamW decays apart.
  config.optimizer.weight_decay = 0.0
  # The rates grow linearly this long, then follow the cosine to 0.
  config.optimizer.warmup_epochs = 0.0
  # Largest norm of the gradient; 0: no clipping.
  config.optimizer.clip_norm = 0.0

  # By which images rates and epochs are chosen: 'val' (split off from train by
  # a seed) or 'paper' (the ID test set, as the authors did).
  config.selection = 'val'

  config.data = ml_collections.ConfigDict()
  # Where published data sets are: `python -m daft_jax.data prepare SUITE`.
  config.data.dir = config_dict.placeholder(str)
  # Of pacs, office_home and vlcs: the domain that is trained on.
  config.data.domain = config_dict.placeholder(str)
  # Where the images of a run stay: 'stream' (on disk), 'host', 'device', or
  # 'auto', by size. The batches are the same.
  config.data.residency = 'auto'
  # Processes that read images; None: one for each core.
  config.data.workers = config_dict.placeholder(int)
  # Seconds that one batch may take in one of them.
  config.data.timeout = 120.0
  # Of random_resized_crop: 'pillow', or 'fast' (pip install 'daft_jax[fast]').
  config.data.decoder = 'pillow'
  # Brightness, contrast and saturation of training images change by up to this.
  config.data.jitter = 0.0
  # RandAugment: how many operations an image goes through.
  config.data.rand_augment = 0
  # And how strong they are, of 30.
  config.data.rand_magnitude = 9
  # a of Beta(a, a), by which images of a batch are blended; 0: they are not.
  config.data.mixup = 0.0
  # Likewise, by which they are patched into each other.
  config.data.cutmix = 0.0

  # A folder of one's own images: config.suite = 'folder'.
  # ROOT/<class>/* or ROOT/train/<class>/*, with val and test beside it.
  config.data.root = config_dict.placeholder(str)
  # Shifted test sets, 'name=FOLDER', of the same classes or some of them.
  config.data.ood = ()
  # Files that cannot be read: 'error' lists and refuses, 'skip' leaves them out
  # and counts, 'report' leaves them out and lists.
  config.data.bad_files = 'error'
  # What is split off each class for validation where there is no val; None:
  # 0.15 of a folder, what the suite says else.
  config.data.val_share = config_dict.placeholder(float)
  # The same for testing, where ROOT has no test.
  config.data.test_share = 0.15
  # Of that split: it does not change with config.seeds.
  config.data.split_seed = 0

  # The machine and the files.
  # Devices are arranged as data x model.
  config.mesh = ml_collections.ConfigDict()
  # Into how many parts each batch is split; 0: as many as there are devices
  # for.
  config.mesh.data = 0
  # Into how many parts a head of 1,000 classes or more is split.
  config.mesh.model = 1
  # Where parameters and momenta lie in training: 'replicated', whole on every
  # device; 'fsdp', in parts over data, put together where they are used
  # (daft_jax/sharding.py).
  config.mesh.params = 'replicated'
  # Checkpoints of finished trials: 'chosen' (those ID validation chose) or
  # 'all'.
  config.keep = 'chosen'
  # Settings of the run in the workdir that are meant to change: what is there
  # is set aside, not deleted.
  config.change = ()

  # Nothing is trained: the chosen trials of a finished run are evaluated on
  # further OOD sets, into WORKDIR/eval.jsonl.
  config.eval_only = False
  # Which: names of the suite's sets or sources such as 'mnist_inverted:test';
  # (): all further sets of the suite.
  config.eval_ood = ()
  return config


def paper(
  suite: str, backbone: str, weights: str, *, epochs: int
) -> ml_collections.ConfigDict:
  """What the suites of the paper share.

  Batches of 64, SGD with momentum 0.9, no weight decay, a cosine to 0, three
  seeds. The authors search in two stages: the rate of the backbone with a head
  rate of 1, which is the grid here, coarser; then the head rate at that one:

    --config.methods=daft --config.lrs=LR --config.head_lrs=10+3+0.3+0.1

  Their grids for ft are 0.3 to 1e-4 (some shorter), for lp_ft 1e-4 to 3e-7
  (SwAV: 0.01 to 3e-6), in steps of 1 and 3. Their epochs and rates are chosen
  by the ID test set, --config.selection=paper; here by a tenth of each class of
  train. Their BatchNorm statistics are --config.bn_estimator=batch_mean.
  """
  config = get_config()
  config.update(
    suite=suite,
    backbone=backbone,
    weights=weights,
    epochs=epochs,
    methods=('lp', 'ft', 'lp_ft', 'daft'),
    seeds=(0, 1, 2),
    lrs=(1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    head_lrs=(1.0,),
  )
  return config


def update(
  config: ml_collections.ConfigDict, arg: str = ''
) -> ml_collections.ConfigDict:
  """Sets fields from 'methods=ft+daft,epochs=5'; returns the config.

  Raises:
    settings.ConfigError: an unknown field, or not of the form name=value.
  """
  for part in filter(None, (arg or '').split(',')):
    name, equals, text = (word.strip() for word in part.partition('='))
    if not equals or not text:
      raise settings.ConfigError(
        f'{part!r} after the config file is not name=value. Several values '
        'are joined by +: methods=ft+daft,seeds=0+1'
      )
    settings.assign(config, name, settings.parse(name, text))
  return config
