"""HeadObject: what GET would say, without the bytes. Clients call it before most reads."""

from gateway.s3 import conditions
from gateway.s3.call import Call
from gateway.s3.get_object import not_modified_headers, select_span
from gateway.s3.object_headers import override, read_headers, refuse_raw_link, required_view


async def head_object(call: Call) -> None:
    view = required_view(call)
    async with call.face.guard.open_read(
        call.principal, call.object_ref, action="head", require_view=view, request_id=call.request_id
    ) as opened:
        refuse_raw_link(call, opened)
        headers = read_headers(opened)
        if conditions.check_read(call.head, opened) is conditions.Freshness.NOT_MODIFIED:
            await call.answer.reply(304, not_modified_headers(headers))
            return
        status, _, _ = select_span(call, opened, headers)
        await call.answer.start(status, override(headers, call))
        await call.answer.body(b"", more=False)
