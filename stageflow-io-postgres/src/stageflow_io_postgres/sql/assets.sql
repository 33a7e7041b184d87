-- The data of assets.

-- name: store
-- Whoever stores the same partition at the same time waits here until this is committed.
insert into {schema}.asset_values
    (asset_digest, partition_digest, asset, partition, serializer, size, data, document)
values ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb)
on conflict (asset_digest, partition_digest) do update
set serializer = excluded.serializer,
    size = excluded.size,
    data = excluded.data,
    document = excluded.document,
    stored_at = now()
returning id

-- name: drop_chunks
delete from {schema}.asset_chunks where value_id = $1

-- name: load
select id, serializer, size, data from {schema}.asset_values
where asset_digest = $1 and partition_digest = $2

-- name: chunk
select data from {schema}.asset_chunks where value_id = $1 and number = $2

-- name: exists
select exists (
    select from {schema}.asset_values where asset_digest = $1 and partition_digest = $2
)

-- name: delete
delete from {schema}.asset_values where asset_digest = $1 and partition_digest = $2 returning id

-- name: partitions
select partition_digest, partition from {schema}.asset_values
where asset_digest = $1 and partition_digest > $2
order by partition_digest limit $3
