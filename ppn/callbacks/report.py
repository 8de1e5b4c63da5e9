from lightning import Callback


class HTMLReport(Callback):
    pass
