"""The figures of the report. Every module of this folder that defines a `Figure` adds it."""

from importlib import import_module
from pkgutil import iter_modules

from report.figure import Figure

MODULES = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
FIGURES: list[Figure] = sorted(
    (each for module in MODULES for each in vars(module).values() if isinstance(each, Figure)),
    key=lambda figure: figure.place,
)
