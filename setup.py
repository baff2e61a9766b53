"""Puts monitor.conf and units/ into the package as vpsmon/data/; everything else is in pyproject.toml.

They lie at the top of the checkout because people look for them there, and an editable install reads them there.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

DATA_FILES = [Path("monitor.conf"), *sorted(path for path in Path("units").rglob("*") if path.is_file())]


class BuildWithData(build_py):
    def run(self):
        super().run()
        if self.editable_mode:
            return
        # A build folder left by an earlier build may hold a unit that is no more.
        data_folder = Path(self.build_lib, "vpsmon", "data")
        shutil.rmtree(data_folder, ignore_errors=True)
        for path in DATA_FILES:
            target = data_folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    def get_source_files(self):
        """What the source archive has to hold so that a wheel can be built from it."""
        return [*super().get_source_files(), *map(str, DATA_FILES)]


setup(cmdclass={"build_py": BuildWithData})
