"""Names that attack when a pickle calls them: they run commands or code, import modules, load further pickles, write or
delete files, or open connections.

A list can hold only what is known to be bad. What is not in it is not safe to load either; it is not known, and the
walker calls neither.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MODULES = _words("""
    os posix nt posixpath ntpath subprocess commands popen2 pty sys runpy importlib imp zipimport pkgutil pip ensurepip
    venv webbrowser antigravity shutil socket socketserver ssl http urllib urllib2 urllib3 requests httpx aiohttp
    httplib ftplib smtplib poplib imaplib telnetlib xmlrpc ctypes _ctypes cffi codeop pdb bdb pydoc idlelib lib2to3
    marshal _posixsubprocess pickle _pickle cPickle shelve paramiko fabric pexpect plumbum distutils setuptools
    winreg msvcrt
""")
"""Every name in these modules, at any depth."""

_BUILTINS = _words("""
    eval exec execfile compile __import__ getattr setattr delattr open file input raw_input globals locals vars
    breakpoint apply map filter reduce help
""")

_NAMES = _words("""
    ast.parse atexit.register bz2.open cProfile.run cProfile.runctx cgitb.lookup cloudpickle.cloudpickle.subimport
    cloudpickle.load cloudpickle.loads code.InteractiveConsole code.InteractiveInterpreter code.interact codecs.open
    _codecs.open copyreg.add_extension dill._dill._import_module dill.load dill.loads dill._dill.load dill._dill.loads
    doctest.debug_script fileinput.input functools.reduce _functools.reduce gzip.open io.FileIO io.open io.open_code
    _io.FileIO _io.open _io.open_code itertools.starmap joblib.load joblib.numpy_pickle.load jsonpickle.decode
    linecache.getline logging.FileHandler logging.config.dictConfig logging.config.fileConfig lzma.open
    multiprocessing.util.spawnv_passfds numpy.fromfile numpy.genfromtxt numpy.lib.npyio.load numpy.load numpy.memmap
    numpy.save numpy.savetxt operator.attrgetter operator.methodcaller _operator.attrgetter _operator.methodcaller
    pandas.eval pandas.read_pickle pathlib.Path.unlink pathlib.Path.write_bytes pathlib.Path.write_text
    platform.popen profile.run profile.runctx site.main sqlite3.connect tarfile.open timeit.main timeit.repeat
    timeit.timeit timeit.Timer torch._dynamo.guards.GuardBuilder.get torch._utils._import_dotted_name
    torch.distributed.launch.main torch.distributed.rpc.remote torch.distributed.rpc.rpc_async
    torch.distributed.rpc.rpc_sync torch.distributed.run.main
    torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression torch.jit.load
    torch.jit.unsupported_tensor_ops.execWrapper torch.load torch.multiprocessing.spawn torch.serialization.load
    torch.utils._config_module.ConfigModule.load_config torch.utils.collect_env.run
    torch.utils.data.datapipes.utils.decoder.basichandlers trace.Trace types.CodeType types.FunctionType
    uuid._get_command_stdout uuid._popen yaml.full_load yaml.load yaml.unsafe_load zipfile.ZipFile
    _aix_support._read_cmd_output _osx_support._find_build_tool _osx_support._read_output
""")
"""Single names in modules that are otherwise harmless, and what is reached through them."""

_PREFIXES = (
    "torch.hub.", "torch.utils.cpp_extension.", "torch._inductor.codecache.", "torch.utils.bottleneck.",
    "torch.package.", "numpy.distutils.", "numpy.f2py.", "numpy.testing.",
)  # fmt: skip

_DATA = _words("""
    sys.version_info sys.float_info http.HTTPStatus urllib.parse.ParseResult urllib.parse.SplitResult
    urllib.parse.ParseResultBytes os.stat_result posix.stat_result
""")
"""What honest pickles name in the modules above: it holds values."""

_CORE = _words("""
    os posix nt subprocess builtins __builtin__ importlib shutil socket runpy
""")
"""Modules that others import: `torch.serialization.os.system` is `os.system`."""

_WAYS_OUT = _words("""
    __globals__ __builtins__ __subclasses__ __import__ __code__ __getattribute__ __dict__
""")

_LOADERS = _words("""
    load loads Unpickler
""")

_ATTRIBUTES = _words("""
    system popen eval exec execfile compile open load loads run call check_output check_call Popen spawn fork kill
    remove unlink rmtree rmdir rename import_module reload getattr setattr
""")


def is_dangerous(name: str) -> bool:
    """Whether calling the global `module.name` is known to attack."""
    if name in _DATA:
        return False
    first, _, rest = name.partition(".")
    if first in _MODULES or name.startswith(_PREFIXES):
        return True
    if first in ("builtins", "__builtin__"):
        return not _BUILTINS.isdisjoint(rest.split(".")) or not _WAYS_OUT.isdisjoint(rest.split("."))
    parts = name.split(".", 32)
    if any(part in _CORE or part.lstrip("_") in _CORE or part in _WAYS_OUT for part in parts[1:]):
        return True
    if len(parts) > 2 and parts[-2].lstrip("_") in ("pickle", "cPickle") and parts[-1] in _LOADERS:
        return True
    return any(".".join(parts[:n]) in _NAMES for n in range(2, len(parts) + 1))


def is_harmless_attribute(name: object) -> bool:
    """Whether `getattr(a class, name)` can be what Python itself pickles for a member of an enumeration or a bound
    method: a plain name that is none of an attack's."""
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        return False
    return name not in _ATTRIBUTES and not name.startswith(("exec", "spawn", "popen"))
