"""
PGSLUICE_SAMPLE=N: of the tests that run on several servers, all run on the default one, and each other server sees every
Nth, another Nth each. For continuous integration, whose time is short; what is left out is printed as deselected.
"""
import os
import zlib


def pytest_collection_modifyitems(config, items):
    sample = int(os.environ.get("PGSLUICE_SAMPLE", "1"))
    if sample < 2:
        return
    from harness import default_version
    kept, left = [], []
    for item in items:
        params = dict(item.callspec.params) if hasattr(item, "callspec") else {}
        version = params.pop("server", None)
        version = version if isinstance(version, int) else None
        same = "%s %s %r" % (item.fspath, item.originalname, sorted(params.items(), key=lambda p: p[0]))
        stays = version in (None, default_version()) or (zlib.crc32(same.encode()) + version) % sample == 0
        (kept if stays else left).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)
