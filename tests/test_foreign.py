"""A file is data: what strangers made runs no code, reads no other file, writes nowhere else, and does not hang."""

import base64
import json
import os
import pickle
import threading
import zlib
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from conftest import posix, random_problem

import hamjl as hj
from hamjl.cli import main
from hamjl.foreign import open_regular, read_netcdf

TIME = np.arange(4.0)
PROBLEM = """
method = {name = "Euler", step = 0.1}
[problem]
span = [0, 3]
network = {kind = "fully_connected", neurons = 2}
target = {kind = "series", file = "NAME"}
"""


def problem_file(folder: Path, name: str) -> Path:
    path = folder / "problem.toml"
    path.write_text(PROBLEM.replace("NAME", name))
    return path


def write_data(path: Path) -> Path:
    if path.suffix == ".csv":
        path.write_text("time,z\n" + "".join(f"{t},{t}\n" for t in TIME))
    else:
        xr.DataArray(TIME, dims="time", coords={"time": TIME}, name="z").to_netcdf(path)
    return path


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def evil_store(path: Path, mark: Path) -> Path:
    """A Zarr folder whose one chunk is a pickle that makes the folder `mark` when it is read."""
    array = {
        **{"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": None, "fill_value": None},
        **{"order": "C", "filters": [{"id": "pickle", "protocol": 5}]},
    }
    for name in ("time", "z"):
        (path / name).mkdir(parents=True)
        (path / name / ".zarray").write_text(json.dumps(array))
        (path / name / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["time"]}')
        (path / name / "0").write_bytes(pickle.dumps(Bomb(mark)))
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    return path


# -- regular files only, by one library --------------------------------------------------------------------------------
def test_a_folder_named_as_data_is_not_opened(tmp_path):
    """Point 1: xarray would take a folder for a Zarr store, and some codecs of those run code."""
    mark = tmp_path / "ran"
    evil_store(tmp_path / "evil.zarr", mark)
    with pytest.raises(hj.ProblemError, match="no regular file"):
        hj.Recipe.load(problem_file(tmp_path, "evil.zarr"))
    with pytest.raises(hj.ProblemError, match="no regular file"):
        read_netcdf(tmp_path / "evil.zarr")
    path = problem_file(tmp_path, "evil.zarr")
    path.write_text('arrays = "evil.zarr"\n' + path.read_text())
    with pytest.raises(hj.ProblemError, match="no regular file"):
        hj.Recipe.load(path)
    assert not mark.exists()


def test_paths_are_names_of_files_and_nothing_else(tmp_path, monkeypatch):
    """The NetCDF library knows addresses on the net, and fragments that name other formats."""
    monkeypatch.chdir(tmp_path)
    with netCDF4.Dataset(f"file://{tmp_path / 'other.nc'}#mode=nczarr,file", "w") as other:
        other.createDimension("time", 1)
        other.createVariable("secret", "f8", ("time",))
    assert Path("other.nc").is_dir()
    address = f"file://{tmp_path}/other.nc#mode=nczarr,file"
    assert "secret" in netCDF4.Dataset(address).variables  # so it would be read
    for given in (address, "other.nc#mode=nczarr,file", "http://localhost:1/data.nc"):
        with pytest.raises(hj.ProblemError, match="must exist"):
            read_netcdf(given)
    data = write_data(tmp_path / "data.nc")
    data.rename(tmp_path / "other.nc#mode=nczarr,file")
    assert list(read_netcdf(Path("other.nc#mode=nczarr,file")).data_vars) == ["z"]


# Made with h5py beside secret.bin, three numbers as they are in memory, and secret.nc, the same as its variable s.
LEADING = {
    "raw data elsewhere": (
        "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvfCNrV(Ve$zK_<_HNOAr&!112RfkC_q8SaiU}!~j;pCITWESzyL6R(Qj-PGA^>;LXfJSw;pnh~uFyWn_"
        "?m(2NiPW~f>OEdf?4s9?{)0Tyv!FyUq}`43gV3KRv&GchrN4Pa-`0P`W3ks%ryB^+pOkzjy{OF#o17P=B>DkEqbCLXSi0m$xwMPM}(s=DIT<"
        "f7CPy`;=M2p<4MAVI|"
    ),
    "virtual data": (
        "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvf7$ng6P>{fYANYH?1TpbEU{V6}m>JQGMF(6=3}7W}A|R5H1!fFmg*Qy=1cpHf-pnkNWn^H3I3DU!Mrf"
        "EZGC~BHp=uGd1X!t{f;|HVSj2(Bgqy+SKU4uLP!uH3#LNUXfCCyeEX+{lP>Y11ToAAJ6>ByFLj%Jo7zLwX6pVsVfETzs`}=^a5dq{Xg@M5nU"
        "h_if;?(4#)DpeCWQJmJ4aSIM2on-t0Lo@Wl54WraR|-c3H+mBKMF>{C>RB!U=)mkQ7{Td!6+C7qhJ)!3jhFZS3Pk"
    ),
    "an external link": (
        "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvfyctpXF!=-q{J`JCC5VaV0h1D#$IOUkEIQy~VgM^)lLe8CJPt5(7%TV~7>ZMqi&9JU@{$?!iy0W&83q"
        "riY`T~M02e|uXa"
    ),
    "many external links": (
        "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvf*f>%7F!=-q{J`JCC5VYPfRRZF%w^_*itk~B(0)u1x&%sdF)=`7q!<}S0d7!eQ>)<?<PpHY4&*Q)M;a"
        "`K8ln7I(2!+7r=fs{NE=y@bVA}r0Z6m4!^9p*_%S$zc(^dIg4A&XMN%~0Fv0AA+2Z)jCkCvF4Wx=6qKXAwm3{x0>u$k7RSb<NHX>+*s{$A*f"
        "G&Z_ykUcgOEI9*98KE_okD!v7+3?0{23Wm1BK)mdeT0LF(d#r$}=#YkC0>N1&j9HpQ6MN2xjiD-l)p(9L!7!JZ!^o63o1*Cz{BR4`%Y@C*?A"
        "Tf|=XZR&_HdGlH0lZ6!7_ID*YJ(CYZbzzP<PIoSM{!5FM|X*Y-4Xd0$B0LMQYoC}FIc!Gk&3_OWL5&$!d3yE$P7#EUKSYcd9a)KKTNha`|0Z"
        "Bj{FfJrDaKgBdB*O*cLXr(PynF?7Xa1VJX*B*Q1#ZE?uJGcJ5m>U+gCbwIhe_1U!^H_+C4oR<T&+JNj{}U$RAIo!z)+l;T$Ea(mzT_-U(5iM"
        "WrWKbVv&Uxw-rWMWSQZz##m%o;IbxIWLe>|rdVXz;Id{|WZB`e=2&Do;IbB2WI5romRMwADVVv!5L;kzBcw4xYrp{jq<Ek`"
    ),
}


@pytest.mark.parametrize("kind", LEADING)
def test_netcdf_files_that_lead_to_other_files_are_refused(kind, tmp_path, monkeypatch):
    """Point 1: HDF5 has three ways to take data from another file, and its library follows them."""
    monkeypatch.chdir(tmp_path)
    np.array([7.0, 8.0, 9.0]).tofile("secret.bin")
    xr.Dataset({"s": ("time", [7.0, 8.0, 9.0])}).to_netcdf("secret.nc")
    Path("x.nc").write_bytes(zlib.decompress(base64.b85decode(LEADING[kind])))
    if "data" in kind:
        with netCDF4.Dataset("x.nc") as found:
            assert found["x"][:].tolist() == [7.0, 8.0, 9.0]  # so it would be read
    with pytest.raises(hj.ProblemError, match="leads to other files"):
        read_netcdf("x.nc")


@pytest.mark.parametrize("compressed", [False, True])
def test_netcdf_files_of_every_make_are_read(compressed, tmp_path):
    """The check above finds nothing in what lacks it: labels, texts, many variables and attributes, in any format."""
    rng = np.random.default_rng(0)
    values = {
        f"v{k}": (("time", "name"), rng.integers(-300, 70000, (500, 3)).astype(k)) for k in ("f8", "f4", "i4", "i2")
    }
    texts = {"t": ("name", ["one", "two and three", "é"]), "o": ("name", np.array(["a", "bb" * 40, ""], dtype=object))}
    names = {"name": ["a", "bb", "c"], "time": np.arange(500) * 0.1}
    made = xr.Dataset(values | texts, names, {f"a{k}": "text" * k for k in range(30)})
    made.to_netcdf(tmp_path / "four.nc", encoding={name: {"zlib": compressed} for name in values})
    xr.testing.assert_identical(read_netcdf(tmp_path / "four.nc"), made)
    for kind in ("NETCDF3_CLASSIC", "NETCDF3_64BIT"):
        made.drop_vars(texts).to_netcdf(tmp_path / "three.nc", format=kind)
        xr.testing.assert_equal(read_netcdf(tmp_path / "three.nc"), made.drop_vars(texts))


def test_a_small_file_of_large_variables_is_refused(tmp_path):
    with netCDF4.Dataset(tmp_path / "bomb.nc", "w") as bomb:
        bomb.createDimension("time", 10**12)
        bomb.createVariable("z", "f8", ("time",), zlib=True, chunksizes=(1000,))
    with pytest.raises(hj.ProblemError, match=r"would take more than 1.1e\+09 bytes"):
        read_netcdf(tmp_path / "bomb.nc")


@posix
@pytest.mark.parametrize("name", ["pipe.csv", "pipe.nc", "pipe.toml", "/dev/zero"])
def test_pipes_and_devices_are_refused_at_once(name, tmp_path):
    """Point 4: opening a FIFO waits for a writer, and /dev/zero has no end."""
    path = tmp_path / name
    if not path.exists():
        os.mkfifo(path)
    with pytest.raises(OSError, match="regular"):
        open_regular(path)
    problem_file(tmp_path, str(path))
    for ask in (
        lambda: hj.Recipe.load(tmp_path / "problem.toml", folder="/"),
        lambda: hj.Recipe.load(path),
        lambda: hj.Session.restore(path),
        lambda: hj.open(path),
        lambda: read_netcdf(path),
    ):
        with pytest.raises(hj.ProblemError):
            ask()


# -- which files -------------------------------------------------------------------------------------------------------
@posix
@pytest.mark.parametrize("kind", ["csv", "nc"])
def test_data_files_lie_below_the_problem_file(kind, tmp_path):
    """Point 3: by default; symbolic links are followed first."""
    home, outside = tmp_path / "home", write_data(tmp_path / f"private.{kind}")
    (home / "sub").mkdir(parents=True)
    write_data(home / "sub" / f"data.{kind}")
    (home / f"link.{kind}").symlink_to(outside)
    assert hj.Recipe.load(problem_file(home, f"sub/data.{kind}")).problem.target.domain == (0.0, 3.0)
    for name in (f"../private.{kind}", str(outside), f"link.{kind}", f"sub/../../private.{kind}"):
        with pytest.raises(hj.ProblemError, match="in the folder of the problem file or below"):
            hj.Recipe.load(problem_file(home, name))
        assert hj.Recipe.load(problem_file(home, name), folder=tmp_path).problem.target.domain == (0.0, 3.0)
        output = ["-o", str(tmp_path / "out.nc")]
        refused = CliRunner().invoke(main, ["run", str(home / "problem.toml"), *output])
        assert (refused.exit_code, "--allow-files" in refused.output) == (1, True)
        assert CliRunner().invoke(main, ["run", str(home / "problem.toml"), "--allow-files", *output]).exit_code == 0


def test_the_arrays_of_a_problem_file_lie_below_it_too(tmp_path):
    (tmp_path / "home").mkdir()
    data = xr.DataArray(TIME, dims="time", coords={"time": TIME})
    network = hj.Network.fully_connected(2)
    hj.Recipe(hj.Problem(network, hj.Objective(), target=data, span=(0, 3))).save(tmp_path / "home" / "p.toml")
    text = (tmp_path / "home" / "p.toml").read_text()
    (tmp_path / "home" / "p.arrays.nc").rename(tmp_path / "p.arrays.nc")
    (tmp_path / "home" / "p.toml").write_text(text.replace('"p.arrays.nc"', '"../p.arrays.nc"'))
    with pytest.raises(hj.ProblemError, match="in the folder of the problem file or below"):
        hj.Recipe.load(tmp_path / "home" / "p.toml")
    assert hj.Recipe.load(tmp_path / "home" / "p.toml", folder=tmp_path).problem.target.domain == (0.0, 3.0)


def test_the_recipe_of_a_trajectory_reads_no_file(tmp_path):
    """Point 3: its data are inside; one that names a file is of no trajectory."""
    outside = write_data(tmp_path / "private.csv")
    recipe = hj.Recipe(random_problem(1))
    tree = recipe.to_dict()
    tree["problem"]["target"] = {"x0": {"kind": "series", "file": str(outside)}}
    with pytest.raises(hj.ProblemError, match="where a folder for them is named"):
        hj.Recipe.from_dict(tree)
    with pytest.raises(hj.ProblemError, match="where a folder for them is named"):
        hj.signals.from_dict({"kind": "series", "file": str(outside)})
    assert hj.signals.from_dict({"kind": "series", "file": "private.csv"}, tmp_path).domain == (0.0, 3.0)


# -- tables that would be misread --------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["csv", "nc"])
def test_dates_of_six_centuries_are_those_days_apart(kind, tmp_path):
    """Point 17: nanoseconds wrap before 1678 and after 2262; from 1600 to 2200 there are 219,146 days (Gregorian)."""
    if kind == "csv":
        (tmp_path / "data.csv").write_text("time,z\n1600-01-01,1\n2200-01-01,2\n")
    else:
        encoded = xr.DataArray([0, 219146], dims="time", attrs={"units": "days since 1600-01-01"})
        xr.Dataset({"z": ("time", [1.0, 2.0])}, {"time": encoded}).to_netcdf(tmp_path / "data.nc")
    given = {"kind": "series", "file": f"data.{kind}", "time_unit": "days"}
    assert hj.signals.from_dict(given, tmp_path).domain == (0.0, 219146.0)
    assert hj.signals.from_dict(given | {"time_unit": "hours"}, tmp_path).domain == (0.0, 24 * 219146.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time,a,z\n0,1,1\n1,2\n2,3,3\n", "as many values as its header, got fewer in '1,2'"),
        ("time,a,z\n0,1,1\n1\n2,3,3\n", "got fewer in '1'"),
        ("time,a,z\n0,1,1\n1,2,3,4\n", "got more in '1,2,3,4'"),
        ("time,z\n2000-01-01,1\nNaT,2\n", "is for dates"),
    ],
)
def test_rows_with_too_few_values_are_refused(text, words, tmp_path):
    """Point 17: such a row would be a time without supervision, silently."""
    (tmp_path / "data.csv").write_text(text)
    unit = {"time_unit": "days"} if "NaT" in text else {}
    with pytest.raises(hj.ProblemError, match=words):
        hj.signals.from_dict({"kind": "series", "file": "data.csv", "columns": "z", **unit}, tmp_path)


def test_a_gap_between_two_commas_is_a_time_without_a_value(tmp_path):
    (tmp_path / "data.csv").write_text('time,a,z\r\n0,1,1\n\n1,"2",\n  \n2,,3\n')
    signal = hj.signals.from_dict({"kind": "series", "file": "data.csv", "interpolation": "previous"}, tmp_path)
    np.testing.assert_array_equal(signal([0.0, 1.0, 2.0]), [[1, 1], [2, np.nan], [np.nan, 3]])


# -- threads -----------------------------------------------------------------------------------------------------------
def test_files_are_written_and_read_by_many_threads(tmp_path):
    """Point 20: the NetCDF library crashes where two threads are in it."""
    from hamjl.files import load, save

    run = hj.solve(random_problem(1), method=hj.Euler(0.01))
    failed = []

    def work(k: int) -> None:
        try:
            for _ in range(10):
                xr.testing.assert_identical(load(save(run, tmp_path / f"{k}.nc")), run)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{k}.nc" for k in range(6)]
