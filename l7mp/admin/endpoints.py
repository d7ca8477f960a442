"""Operations on the endpoints of clusters."""

from __future__ import annotations

from l7mp.admin.operation import Call, NotFound, Operation
from l7mp.model import declared as say
from l7mp.model import edit
from l7mp.model.view import EndPointView, View

_OF_CLUSTER = "/clusters/<name>/endpoints"


async def _list(call: Call) -> tuple[EndPointView, ...]:
    cluster = call.config.clusters.get(call.path["name"])
    if cluster is None:
        raise NotFound
    return tuple(call.viewer.endpoint(one) for one in cluster.endpoints)


async def _add(call: Call) -> View:
    words, cluster = call.proxy.vocabulary, call.path["name"]
    it = call.body(say.EndPointRequest).endpoint
    return await call.edit(
        lambda config: edit.add_endpoint(config, words, cluster, it), "/endpoints"
    )


async def _get(call: Call) -> EndPointView:
    found = call.config.endpoint(call.path["name"])
    if found is None:
        raise NotFound
    return call.viewer.endpoint(found[1])


async def _delete(call: Call) -> View:
    name, recursive = call.path["name"], call.recursive
    return await call.edit(lambda config: edit.delete_endpoint(config, name, recursive))


OPERATIONS = (
    Operation(
        name="getEndPoints",
        method="GET",
        path=_OF_CLUSTER,
        summary="Get the EndPoints of a Cluster",
        handler=_list,
        reply=EndPointView,
        is_list=True,
    ),
    Operation(
        name="addEndPoint",
        method="POST",
        path=_OF_CLUSTER,
        summary="Add an EndPoint to a Cluster",
        handler=_add,
        body=say.EndPointRequest,
    ),
    Operation(
        name="getEndPoint",
        method="GET",
        path="/endpoints/<name>",
        summary="Get a named EndPoint",
        handler=_get,
        reply=EndPointView,
    ),
    Operation(
        name="deleteEndPoint",
        method="DELETE",
        path="/endpoints/<name>",
        summary="Delete a named EndPoint",
        handler=_delete,
        recursive="Disconnect the stages that use it, too; they may be retried.",
    ),
)
