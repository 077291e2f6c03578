#!/opt/venv/bin/python
"""Replaces kafka-topics.sh and kafka-broker-api-versions.sh: it accepts the options that docker-compose.yml passes."""

import argparse
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

parser = argparse.ArgumentParser()
parser.add_argument("--bootstrap-server", required=True)
parser.add_argument("--create", action="store_true")
parser.add_argument("--if-not-exists", action="store_true")
parser.add_argument("--topic")
parser.add_argument("--partitions", type=int)
options = parser.parse_args()
admin = AdminClient({"bootstrap.servers": options.bootstrap_server})
if Path(parser.prog).name == "kafka-broker-api-versions.sh":
    print(admin.list_topics(timeout=5).brokers)
elif options.create:
    topic = NewTopic(options.topic, num_partitions=options.partitions, replication_factor=1)
    try:
        admin.create_topics([topic])[options.topic].result(10)
    except KafkaException as error:
        if not (options.if_not_exists and error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS):
            raise
