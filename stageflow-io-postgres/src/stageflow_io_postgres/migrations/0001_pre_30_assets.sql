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
