"""Lightning's command line, parsed and built but not run."""

from lightning import LightningDataModule, LightningModule

from ppn.cli import PrototypeCLI


def built(args):
    """Parse arguments and build model, data and trainer from them."""
    return PrototypeCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        save_config_callback=None,
        run=False,
        args=args,
    )
