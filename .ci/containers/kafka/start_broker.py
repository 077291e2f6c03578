"""Replace this process by the broker of our wheel, at the addresses of the listener INTERNAL in docker-compose.yml."""

import os

from streaming.broker_binary import broker_binary

advertised = dict(part.split("://") for part in os.environ["KAFKA_ADVERTISED_LISTENERS"].split(","))["INTERNAL"]
listens = dict(part.split("://") for part in os.environ["KAFKA_LISTENERS"].split(","))["INTERNAL"]
address = f"tcp://0.0.0.0{listens}", f"tcp://{advertised}"
binary = str(broker_binary())
options = [
    "--storage-engine",
    "memory://moovitamix/",
    "--listener-url",
    address[0],
    "--advertised-listener-url",
    address[1],
]
# The broker reads settings from variables with common names, so it gets only PATH.
os.execve(binary, [binary, "broker", *options], {"PATH": os.environ["PATH"]})
