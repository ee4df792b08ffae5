"""A peer of the interoperability tests: Microsoft's Table SDK for Python.

The protocol is that of the other peer, src/main.rs: a request a line, an answer a line.
"""

import base64
import json
import os
import sys

from azure.core.credentials import AccessToken, AzureNamedKeyCredential
from azure.core.pipeline.transport import RequestsTransport
from azure.data.tables import EdmType, EntityProperty, TableServiceClient, UpdateMode


class Token:
    """The one token that was given."""

    def get_token(self, *scopes, **kwargs):
        return AccessToken(os.environ["SKEIN_TOKEN"], 2**31)


class Loopback(RequestsTransport):
    """The SDK sends tokens over https only: this goes to loopback, where there is none, and to nowhere else."""

    def send(self, request, **kwargs):
        if not request.url.startswith("https://127.0.0.1:"):
            raise ValueError(f"{request.url} is not on loopback: nothing is sent")
        request.url = "http" + request.url.removeprefix("https")
        return super().send(request, **kwargs)


def client():
    url = os.environ["SKEIN_TABLES"]
    options = {"retry_total": 0}
    if key := os.environ.get("SKEIN_KEY"):
        credential = AzureNamedKeyCredential(os.environ["SKEIN_ACCOUNT"], key)
        return TableServiceClient(url, credential=credential, **options)
    url = "https" + url.removeprefix("http")
    return TableServiceClient(url, credential=Token(), transport=Loopback(), **options)


def entity(partition, row):
    found = {"PartitionKey": partition, "RowKey": row["key"]}
    for name, typed in row["properties"].items():
        ((kind, value),) = typed.items()
        if kind == "i":
            value = EntityProperty(value, EdmType.INT64)
        elif kind == "d":
            value = float(value)
        elif kind == "x":
            value = base64.b64decode(value)
        found[name] = value
    return found


def read(found):
    properties = {}
    for name, value in found.items():
        if name in ("PartitionKey", "RowKey"):
            continue
        if isinstance(value, EntityProperty):
            value = value.value
        if isinstance(value, bool):
            typed = {"t": value}
        elif isinstance(value, int):
            typed = {"i": value}
        elif isinstance(value, float):
            typed = {"d": value}
        elif isinstance(value, bytes):
            typed = {"x": base64.b64encode(value).decode()}
        else:
            typed = {"s": value}
        properties[name] = typed
    return {"key": found["RowKey"], "properties": properties}


def answer(service, request):
    table = service.get_table_client(request["table"])
    partition = request["partition"]
    rows = [entity(partition, row) for row in request.get("rows", [])]
    match request["do"]:
        case "query":
            found = table.query_entities("PartitionKey eq @partition", parameters={"partition": partition})
            return [read(one) for one in found]
        case "insert":
            for row in rows:
                table.create_entity(row)
        case "batch":
            table.submit_transaction([("create", row) for row in rows])
        case "replace":
            for row in rows:
                table.upsert_entity(row, mode=UpdateMode.REPLACE)
        case other:
            raise ValueError(f"{other!r} is not understood")
    return None


def main():
    service = client()
    for line in sys.stdin:
        try:
            result = {"ok": answer(service, json.loads(line))}
        except Exception as error:  # Whatever it is goes to the test.
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)


main()
