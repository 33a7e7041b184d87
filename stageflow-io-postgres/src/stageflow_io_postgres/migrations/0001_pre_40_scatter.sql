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
