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
