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
) with (fillfactor = 70);
create index runs_by_status on {schema}.runs (status, seq);
create index runs_by_service on {schema}.runs (service, seq);
create index runs_by_lease on {schema}.runs (run_id) where expires_at is not null;
create index runs_by_due on {schema}.runs (due_at) where due_at is not null;
create index runs_by_end on {schema}.runs (ended_at);

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
