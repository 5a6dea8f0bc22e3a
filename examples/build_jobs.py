#!/usr/bin/env python3
"""Writes the example job files from the guest programs and the data.

Module and data travel inside the job file as data: URLs (tar.gz, base64), so that each job runs as it is on any cluster.
"""
import base64
import gzip
import io
import pathlib
import tarfile

ROOT = pathlib.Path(__file__).parent


def inline(path):
    """data: URL of a tar.gz that holds the file. Bytes depend on the content only."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        info = tarfile.TarInfo(path.name)
        info.size, info.mode = path.stat().st_size, 0o644
        tar.addfile(info, io.BytesIO(path.read_bytes()))
    return "data:application/gzip;base64," + base64.b64encode(packed.getvalue()).decode()


CLIMATE = """\
# Seattle's weather, day by day for four years, summarised by month on as many nodes as there are.
# Each of the two partitions takes every other year; the results are merged by `bacalhau job get`.
Name: climate
Type: batch
Count: 2
Labels:
  example: climate
Tasks:
  - Name: main
    Engine:
      Type: wasm
      Params:
        EntryModule: /app
        Entrypoint: _start
        Parameters: [/data/seattle-weather.csv, /outputs]
    InputSources:
      - Target: /app
        Alias: program
        Source:
          Type: inline
          Params:
            URL: {program}
      - Target: /data
        Alias: data
        Source:
          Type: inline
          Params:
            URL: {data}
    ResultPaths:
      - Name: outputs
        Path: /outputs
    Publisher:
      Type: local
    Resources:
      CPU: 100m
      Memory: 64Mb
    Timeouts:
      ExecutionTimeout: 60
      QueueTimeout: 60
"""

# The task of the jobs that only print.
PRINTS = """\
Tasks:
  - Name: main
    Engine:
      Type: wasm
      Params:
        EntryModule: /app
        Entrypoint: _start
        Parameters: [{parameters}]
    InputSources:
      - Target: /app
        Alias: program
        Source:
          Type: inline
          Params:
            URL: {program}
    Resources:
      CPU: 100m
      Memory: 32Mb
"""

TICKER = """\
# Prints a line twice a second. Follow it with `bacalhau job logs --follow ticker`.
Name: ticker
Type: batch
Count: 1
Labels:
  example: ticker
"""

EVERYWHERE = """\
# Runs once on every node that matches, here: on all Linux nodes.
Name: everywhere
Type: ops
Constraints:
  - Key: os_type
    Operator: "="
    Values: [linux]
"""


def main():
    guests = ROOT / "guests"
    program = inline(guests / "climate.wasm")
    (ROOT / "climate.yaml").write_text(CLIMATE.format(program=program, data=inline(ROOT / "data/seattle-weather.csv")))
    ticker = inline(guests / "ticker.wasm")
    (ROOT / "ticker.yaml").write_text(TICKER + PRINTS.format(program=ticker, parameters='"20", "500"'))
    (ROOT / "everywhere.yaml").write_text(EVERYWHERE + PRINTS.format(program=ticker, parameters='"3", "10"'))


main()
