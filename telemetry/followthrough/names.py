"""Names that the kit writes: span attributes, log events and fields, label values.

`docs/names.md` is made from this file: a heading for each `# ##`, a line for each name with the
comment beside it. The attributes without `celery.` are those of OpenTelemetry's semantic
conventions 1.44.
"""

from __future__ import annotations

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

# ## Errors

ERROR_TYPE = "error.type"  # class of the exception that ended it, or the outcome's own name for it
EXCEPTION = "exception"  # event: an exception, with the three attributes below
EXCEPTION_TYPE = "exception.type"  # its class, with the module
EXCEPTION_MESSAGE = "exception.message"  # its text, cut and without secrets
EXCEPTION_STACKTRACE = "exception.stacktrace"  # its traceback, cut and without secrets

# ## Requests

HTTP_METHOD = "http.request.method"  # GET, POST, ...; `_OTHER` where it is unknown
HTTP_METHOD_ORIGINAL = "http.request.method_original"  # the unknown method
HTTP_ROUTE = "http.route"  # the route's template
HTTP_STATUS = "http.response.status_code"  # the answer's status
URL_SCHEME = "url.scheme"  # http or https
URL_PATH = "url.path"  # the path asked for
URL_QUERY = "url.query"  # the query, without secrets
SERVER_ADDRESS = "server.address"  # the host asked for
SERVER_PORT = "server.port"  # the port asked for
CLIENT_ADDRESS = "client.address"  # who asked, as the server sees it, or as ProxyFix says
CLIENT_PORT = "client.port"  # its port
NETWORK_PEER_ADDRESS = "network.peer.address"  # the proxy that passed it on
NETWORK_PROTOCOL_VERSION = "network.protocol.version"  # HTTP's version
USER_AGENT = "user_agent.original"  # the caller's program
USER_AGENT_SYNTHETIC = "user_agent.synthetic.type"  # bot or test, where the program says so
HTTP_REQUEST_ID = "http.request.id"  # ours: X-Request-ID where the caller gave one

# ## Messages

MESSAGING_SYSTEM = "messaging.system"  # the broker: redis, rabbitmq, ...
MESSAGING_DESTINATION = "messaging.destination.name"  # the queue
MESSAGING_OPERATION_NAME = "messaging.operation.name"  # send, process
MESSAGING_OPERATION_TYPE = "messaging.operation.type"  # send, process
MESSAGING_MESSAGE_ID = "messaging.message.id"  # the task's id

# ## Tasks

CELERY_TASK = "celery.task_name"  # the task's name
PROCESS_LOST = "celery.process_lost"  # event: it had succeeded before its process was lost
CELERY_OUTCOME = "celery.outcome"  # how the attempt ended, see outcomes.md
CELERY_RETRIES = "celery.retries"  # retries before this attempt; absent in the first
CELERY_RETRY_REASON = "celery.retry.reason"  # why the attempt is retried
CELERY_REQUEUE_REASON = "celery.requeue.reason"  # why its message went back to the queue
CELERY_ETA = "celery.eta"  # not to run before (ISO 8601)
CELERY_EXPIRES = "celery.expires"  # not to start after (ISO 8601)
CELERY_TIME_LIMIT = "celery.time_limit"  # its own hard time limit, in seconds
CELERY_SOFT_TIME_LIMIT = "celery.soft_time_limit"  # its own soft time limit, in seconds
CELERY_PRIORITY = "celery.priority"  # the message's priority
CELERY_ROOT_ID = "celery.root_id"  # id of the first task of its workflow, if it is another
CELERY_PARENT_ID = "celery.parent_id"  # id of the task that sent it
CELERY_GROUP_ID = "celery.group_id"  # id of its group
CELERY_CHORD = "celery.chord"  # id of the chord's body that waits for it
CELERY_ORIGIN = "celery.origin"  # the process that sent it
CELERY_REPLY_TO = "celery.reply_to"  # queue of the caller that waits for its result
CELERY_EXCHANGE = "celery.exchange"  # the exchange it was sent to, if not the default
CELERY_WORKER = "celery.worker"  # the worker that ran it
CELERY_POOL = "celery.pool"  # the worker's pool: prefork, solo, threads, gevent, eventlet
CELERY_CRITICAL = "celery.critical"  # true: its bad end alerts
CELERY_EAGER = "celery.eager"  # true: run by the caller, with no broker in between
CELERY_REDELIVERED = "celery.redelivered"  # true: the broker has delivered it before
CELERY_SCHEDULE = "celery.schedule.entry"  # the entry of beat's schedule that is due
CELERY_SCHEDULE_LATE = "celery.schedule.late"  # seconds after its time
CELERY_ARG = "celery.arg."  # prefix: an argument that the task lists in `trace_args`

# ## Where a task's time went

TIME_PUBLISHED = "celery.time.published"  # when it was published (seconds since 1970)
TIME_BROKER = "celery.time.broker"  # seconds in the broker
TIME_ETA = "celery.time.eta"  # seconds in the worker, waiting for its ETA
TIME_PREFETCHED = "celery.time.prefetched"  # seconds in the worker, waiting for a free process
TIME_RUNNING = "celery.time.running"  # seconds in the task's own code
TIME_STORING = "celery.time.storing"  # seconds from its return to its end: result, callbacks, chain

# ## Log events

REQUEST_FINISHED = "request.finished"  # a request was answered
TASK_PUBLISHED = "task.published"  # debug: a task was handed to the broker
TASK_STARTED = "task.started"  # debug: a task starts
TASK_RESTORED = "task.restored"  # a message of a killed worker went back to its queue
MESSAGES_RESTORED = "messages.restored"  # how many did, of one worker
MESSAGES_NOT_RESTORED = "messages.not_restored"  # the broker did not answer; it is asked again
QUARANTINE_OFF = "quarantine.off"  # celery or kombu are not as expected; all is as without the kit
ALERT_DROPPED = "alert.dropped"  # an alert could not be kept for delivery
TELEMETRY_ERROR = "telemetry.error"  # an error of the kit itself, kept from the host

# ## Log fields

TRACE_ID = "trace_id"  # the trace, 32 hex digits
SPAN_ID = "span_id"  # the span, 16 hex digits
REQUEST_ID = "request_id"  # the request, X-Request-ID where the caller gave one
TASK_ID = "task_id"  # the task's id
TASK = "task"  # the task's name
QUEUE = "queue"  # the queue
ATTEMPT = "attempt"  # 1 in the first attempt
OUTCOME = "outcome"  # how it ended, see outcomes.md
DURATION = "duration"  # seconds it ran
WAIT = "wait"  # seconds from its publishing to its start
ERROR_TYPE_FIELD = "error_type"  # class of the exception
ERROR = "error"  # its text
QUARANTINE = "quarantine"  # the id under which its message is kept

# ## Label values

OTHER = "__other__"  # what comes after a label's first values
UNKNOWN_TASK = "__unknown__"  # a task whose name the worker doesn't know
