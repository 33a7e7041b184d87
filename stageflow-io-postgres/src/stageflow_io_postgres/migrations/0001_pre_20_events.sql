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
