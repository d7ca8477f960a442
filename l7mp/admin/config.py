"""Operations on the whole configuration, and on the settings of the proxy itself."""

from __future__ import annotations

import l7mp
from l7mp.admin.operation import Call, Operation
from l7mp.admin.sessions import session_views
from l7mp.model import declared as say
from l7mp.model import edit
from l7mp.model.view import AdminView, ConfigView, View


async def _get_config(call: Call) -> ConfigView:
    return call.viewer.config(l7mp.__version__, session_views(call), call.recursive)


async def _set_config(call: Call) -> View:
    words, it = call.proxy.vocabulary, call.body(say.Config)
    return await call.edit(lambda config: edit.replace_all(config, words, it))


async def _get_admin(call: Call) -> AdminView:
    return call.viewer.admin(l7mp.__version__)


async def _set_admin(call: Call) -> View:
    words, it = call.proxy.vocabulary, call.body(say.AdminRequest).admin
    return await call.edit(lambda config: edit.set_admin(config, words, it))


OPERATIONS = (
    Operation(
        name="getConf",
        method="GET",
        path="/config",
        summary="Get the full configuration",
        handler=_get_config,
        reply=ConfigView,
        recursive="Show the endpoints of clusters, not how many there are.",
    ),
    Operation(
        name="setConf",
        method="POST",
        path="/config",
        summary="Replace the full configuration, ending sessions whose objects change",
        handler=_set_config,
        body=say.Config,
    ),
    Operation(
        name="getAdmin",
        method="GET",
        path="/admin",
        summary="Get the settings of the proxy",
        handler=_get_admin,
        reply=AdminView,
    ),
    Operation(
        name="applyAdmin",
        method="POST",
        path="/admin",
        summary="Change settings of the proxy; those that are not given stay",
        handler=_set_admin,
        body=say.AdminRequest,
    ),
)
