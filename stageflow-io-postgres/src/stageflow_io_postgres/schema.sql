-- All tables as they are after every migration; a test holds the two against each other.
-- `{schema}` stands for the name of the schema.

-- Runs, and all that belongs to one. Names that others choose are kept as UTF-8 bytes where any
-- text has to come back as it was; `text` is for what people look for.

-- A run has had a lease once it has an owner, and has it still while `expires_at` is set. From
-- `due_at` on anybody may claim the run.
create table {schema}.runs (
    seq bigint generated always as identity primary key,
    run_id uuid not null unique,
    service text not null,
    topology text,
    execution_mode text,
    status text not null,
    error text,
    duration_ms double precision,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    ended_at timestamptz,
    owner text,
    token bigint not null default 0,
    expires_at timestamptz,
    cancel_requested text,
    due_at timestamptz,
    last_event bigint not null default 0,
    last_commit uuid
) with (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.1
);
create index runs_by_status on {schema}.runs (status, seq);
create index runs_by_service on {schema}.runs (service, seq);
create index runs_by_lease on {schema}.runs (run_id) where expires_at is not null;
create index runs_by_due on {schema}.runs (due_at) where due_at is not null;
create index runs_by_age on {schema}.runs (ended_at, seq) where ended_at is not null;

-- The highest token that a run had that is gone: no later one of its id starts below it.
create table {schema}.run_tokens (
    run_id uuid primary key,
    token bigint not null
);

create table {schema}.run_metadata (
    seq bigint not null references {schema}.runs (seq) on delete cascade,
    name text not null,
    value bytea not null,
    primary key (seq, name)
);

-- Events and entries are the many: they are written only by statements that have the row of their
-- run locked, and deleted with it, so that no key has to be looked up for each of them.
create table {schema}.run_events (
    seq bigint not null,
    number bigint not null,
    type text not null,
    at text not null,
    data bytea not null,
    primary key (seq, number)
);

create sequence {schema}.run_entry_numbers;
create table {schema}.run_entries (
    seq bigint not null,
    key bytea not null,
    number bigint not null default nextval('{schema}.run_entry_numbers'),
    value bytea not null,
    primary key (seq, key)
);
create index run_entries_by_number on {schema}.run_entries (seq, number);

create table {schema}.run_waits (
    seq bigint not null references {schema}.runs (seq) on delete cascade,
    number bigint generated always as identity,
    wait_id bytea not null,
    stage bytea not null,
    name bytea not null,
    created_at timestamptz not null,
    deadline timestamptz,
    state text not null,
    value bytea,
    is_parked_for boolean not null default false,
    primary key (seq, wait_id)
);
create index run_waits_open on {schema}.run_waits (seq, name, number) where state = 'open';
create index run_waits_parked on {schema}.run_waits (seq) where is_parked_for;

create table {schema}.run_signals (
    seq bigint not null references {schema}.runs (seq) on delete cascade,
    number bigint generated always as identity,
    name bytea not null,
    signal_id bytea,
    wait_id bytea,
    value bytea,
    primary key (seq, number)
);
create unique index run_signals_by_id on {schema}.run_signals (seq, signal_id)
    where signal_id is not null;
create index run_signals_kept on {schema}.run_signals (seq, name, number)
    where value is not null;

-- A value that was deleted keeps its row without a value, for the sake of its version.
create table {schema}.shared_values (
    namespace bytea not null,
    key bytea not null,
    version bigint not null,
    value bytea,
    updated_at timestamptz not null,
    primary key (namespace, key)
);

-- Events in the order in which each sink took them.

create table {schema}.events (
    id bigint generated always as identity,
    type text not null,
    recorded_at timestamptz not null,
    pipeline_run_id text,
    stage text,
    -- As it was written. Not jsonb, which takes longer, and refuses texts that hold U+0000.
    data json,
    primary key (id)
);

create index events_by_run on {schema}.events (pipeline_run_id, id)
where pipeline_run_id is not null;

-- Rows lie in the order of their times, near enough, and so this index costs next to nothing.
create index events_by_time on {schema}.events using brin (recorded_at);

-- Which batch of each sink was written last, so that one whose fate is not known is not written
-- again. A sink takes its row away when it is closed.
create table {schema}.event_writers (
    writer uuid primary key,
    batch bigint not null,
    written_at timestamptz not null default now()
) with (fillfactor = 50);

-- The data of assets, by asset and partition.

create table {schema}.asset_values (
    id bigint generated always as identity,
    -- Digests of the names, which may be longer than an index takes.
    asset_digest bytea not null,
    partition_digest bytea not null,
    asset text not null,
    partition text not null,
    serializer text not null,
    size bigint not null,
    -- The value as its serialiser wrote it; null if that lies in chunks.
    data bytea,
    -- What a value in JSON says, to be queried; null if the value is none, or jsonb cannot say it.
    document jsonb,
    stored_at timestamptz not null default now(),
    primary key (asset_digest, partition_digest)
);

create table {schema}.asset_chunks (
    value_id bigint not null,
    number integer not null,
    data bytea not null,
    primary key (value_id, number)
);

-- What serialisers wrote is often compressed already, and then read whole.
alter table {schema}.asset_chunks alter column data set storage external;

-- Barriers of scatters. An item and its outcome are two rows, each written once: so nothing
-- is left to be vacuumed, however many items end.

create table {schema}.scatter_barriers (
    seq bigint generated always as identity primary key,
    -- Digests of the ids, which may be longer than an index takes.
    digest bytea not null unique,
    run_digest bytea not null,
    barrier_id text not null,
    threshold text not null,
    mode text not null,
    status text not null default 'pending',
    sealed boolean not null default false,
    total bigint not null default 0,
    cancelled bigint not null default 0,
    duplicates bigint not null default 0,
    next_number bigint not null default 0,
    -- No item before it has yet to be claimed for the first time.
    unclaimed_from bigint not null default 0,
    -- The insertion that was made last, and the number of its first item: so one whose answer was
    -- lost finds out what it has done.
    last_insertion uuid,
    last_first bigint not null default 0,
    checkpoint bytea not null,
    created_at timestamptz not null default now()
) with (fillfactor = 50);

create index scatter_barriers_by_run on {schema}.scatter_barriers (run_digest);

create table {schema}.scatter_items (
    barrier bigint not null,
    number bigint not null,
    -- The key if it is short, else its digest.
    identity bytea not null,
    long_key bytea,
    primary key (barrier, number)
);

create unique index scatter_items_by_key on {schema}.scatter_items (barrier, identity);

create table {schema}.scatter_outcomes (
    barrier bigint not null,
    number bigint not null,
    -- 1 completed, 2 failed, 3 cancelled, 4 cancelled and ended after that
    state smallint not null,
    outcome bytea,
    primary key (barrier, number)
);

-- How many outcomes there are of each kind, spread so that those who record do not wait for each
-- other; what a barrier has is the sum.
create table {schema}.scatter_counts (
    barrier bigint not null,
    slot smallint not null,
    completed bigint not null,
    failed bigint not null,
    late bigint not null,
    primary key (barrier, slot)
) with (fillfactor = 20);

-- Items that were claimed and have not ended. Nobody's if there is no worker.
create table {schema}.scatter_claims (
    barrier bigint not null,
    number bigint not null,
    worker text,
    deadline timestamptz not null,
    primary key (barrier, number)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

-- Executions of parallel branches, and decisions of routers.

create table {schema}.parallel_executions (
    seq bigint generated always as identity primary key,
    -- Digests of the ids, which may be longer than an index takes.
    digest bytea not null unique,
    run_digest bytea not null,
    execution_id text not null,
    mode text not null,
    scheduled boolean not null default false,
    failed boolean not null default false,
    result bytea,
    created_at timestamptz not null default now()
);

create index parallel_executions_by_run on {schema}.parallel_executions (run_digest);

create table {schema}.parallel_branches (
    execution bigint not null references {schema}.parallel_executions on delete cascade,
    number integer not null,
    -- In JSON, which has a word for every character.
    name text not null,
    required boolean not null,
    status text not null default 'pending',
    outcome bytea,
    primary key (execution, number)
);

create table {schema}.routing_decisions (
    digest bytea primary key,
    decision_id text not null,
    -- In JSON, which has a word for every character.
    run_id text not null,
    router text not null,
    partition text not null,
    route text not null,
    reason text not null,
    decided_at timestamptz not null default clock_timestamp()
);

create index routing_decisions_by_time on {schema}.routing_decisions (decided_at);

-- For people: how it is with each run, and how much is kept of it.
create view {schema}.run_overview as
select
    r.run_id,
    r.service,
    r.topology,
    r.status,
    r.owner,
    r.expires_at is not null as is_owned,
    r.expires_at < now() as is_overdue,
    r.created_at,
    r.updated_at,
    r.ended_at,
    r.last_event as events,
    (select count(*) from {schema}.run_entries e where e.seq = r.seq) as entries,
    (select count(*) from {schema}.run_waits w where w.seq = r.seq and w.state = 'open') as waits
from {schema}.runs r;
