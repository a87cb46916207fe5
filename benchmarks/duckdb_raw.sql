-- What DuckDB needs before the translated models (duckdb_sql.py): functions that only Spark has, and
-- the tables that read raw files. These are written by hand, as DuckDB reads JSON in its own way.
--
-- Set beforehand: the variables log_files (list of paths), raw_folder (without a last slash) and
-- seeds (path of the folder).
--
-- What differs from Spark:
--   * Hashes have other values, which are not compared. Events that nothing else puts in order may
--     be paired in another order in int_user_day_transitions and weekly_charts.
--   * A line that is not JSON, or has a wrong type, is read as nulls (ignore_errors). So a log with
--     such lines shows other reasons here, and no text of the line.

create macro array_union(a, b) as list_distinct(list_concat(a, b));


-- as in Spark, a null does not change the hash
create macro xxhash64(a) as cast(hash(a) >> 1 as bigint), (a, b) as case
    when a is null then xxhash64(b)
    when b is null then xxhash64(a)
    else cast(hash(a, b) >> 1 as bigint)
end;


-- dbt's source of all files; a path starts within the landing folder
create view raw_files as
select
    {
        file_path: replace(filename, getvariable('raw_folder') || '/', ''),
        file_size: size,
        file_modification_time: last_modified
    } as _metadata
from read_blob(getvariable('log_files'));


create table page_catalogue as
select *
from read_csv(getvariable('seeds') || '/page_catalogue.csv', all_varchar = true);


create table plan_catalogue as
select *
from read_csv(
    getvariable('seeds') || '/plan_catalogue.csv',
    columns = {level: 'varchar', is_paid: 'boolean', description: 'varchar'}
);


create table base_files as
with

lines as (

    -- no separator and no quote: a line is one text
    select
        filename,
        case
            when starts_with(value, '{') then true
            else trim(value, ' ' || chr(9)) <> ''
        end as has_text,
        -- cases, so that the dear second look is taken at few lines
        case
            when starts_with(value, '{')
                and strlen(split_part(value, '}', 1)) = strlen(value) - 1
                and not contains(value, '[')
                then true
            else regexp_matches(
                    regexp_replace(
                        regexp_replace(value, '\\.', '', 'g'), '"[^"]*"', '', 'g'
                    ),
                    '^[{][^{}\[\]]*[}]\s*$'
                )
        end as is_one_flat_object
    from read_csv(
        getvariable('log_files'),
        columns = {value: 'varchar'},
        auto_detect = false,
        header = false,
        delim = chr(1),
        quote = '',
        escape = '',
        filename = true
    )

),

file_lines as (

    select
        filename,
        count(*) filter (has_text) as lines,
        count(*) filter (has_text and not is_one_flat_object) as irregular_lines
    from lines
    group by filename

)

select
    replace(files.filename, getvariable('raw_folder') || '/', '') as source_file,
    files.size as file_bytes,
    files.last_modified as file_modified_at,
    file_lines.lines,
    file_lines.irregular_lines
from read_blob(getvariable('log_files')) as files
inner join file_lines on files.filename = file_lines.filename;


create table base_events as
with

files as (

    -- content is not asked for, so that the files are not read here
    select
        filename,
        size as source_file_bytes,
        last_modified as source_file_modified_at
    from read_blob(getvariable('log_files'))

),

lines as (

    select *
    from read_ndjson(
        getvariable('log_files'),
        columns = {
            ts: 'bigint', userId: 'varchar', sessionId: 'bigint', page: 'varchar',
            auth: 'varchar', method: 'varchar', status: 'bigint', level: 'varchar',
            itemInSession: 'bigint', location: 'varchar', userAgent: 'varchar',
            registration: 'double', gender: 'varchar', artist: 'varchar', song: 'varchar',
            length: 'double'
        },
        filename = true,
        ignore_errors = true
    )

),

typed_ids as (

    select
        *,
        case
            when regexp_full_match(userId, ' *[0-9]+[.][0-9]+([eE][+]?[0-9]+)? *')
                then try_cast(userId as decimal(38, 10))
        end as float_id
    from lines
    inner join files using (filename)

),

checked as (

    select
        *,
        case
            when float_id is not null then cast(cast(float_id as decimal(38, 0)) as varchar)
            when trim(userId) not in (
                '', 'nan', 'NaN', 'NAN', 'null', 'Null', 'NULL', 'none', 'None', 'NONE',
                'nil', 'undefined', '<NA>', '\N'
            ) then trim(userId)
        end as typed_user_id,
        case
            when left(page, 1) in ('{', '[') or left(userId, 1) in ('{', '[') then 'wrong_type'
            when userId in ('true', 'false', 'True', 'False') or float_id <> floor(float_id)
                then 'wrong_type'
            when ts is null then 'missing_timestamp'
            when ts not between 946684800000 and 4102444799999 then 'timestamp_out_of_range'
            when epoch_ms(source_file_modified_at) >= 946684800000
                and ts > epoch_ms(source_file_modified_at) + 86400000
                then 'later_than_its_file'
            when coalesce(page, '') = '' then 'missing_page'
            when sessionId is null then 'missing_session'
            when length < 0 or length > 86400 then 'length_out_of_range'
            when registration not between 946684800000 and 4102444799999
                then 'registration_out_of_range'
            when registration <> floor(registration) then 'wrong_type'
        end as reject_reason
    from typed_ids

)

select
    replace(filename, getvariable('raw_folder') || '/', '') as source_file,
    source_file_bytes,
    source_file_modified_at,
    now() as loaded_at,
    reject_reason,
    case
        when reject_reason is not null
            then to_json(
                {
                    ts: ts, userId: userId, sessionId: sessionId, page: page, auth: auth,
                    method: method, status: status, level: level, itemInSession: itemInSession,
                    location: location, userAgent: userAgent, registration: registration,
                    gender: gender, artist: artist, song: song, length: length
                }
            )
    end as raw_line,
    case when reject_reason is null then cast(epoch_ms(ts) as date) end as event_date,
    case when reject_reason is null then epoch_ms(ts) end as event_at,
    case
        when registration is not null or gender is not null then typed_user_id
    end as user_id,
    sessionId as session_id,
    cast(itemInSession as integer) as item_in_session,
    page,
    auth,
    method as http_method,
    cast(status as integer) as http_status,
    nullif(lower(trim(level)), '') as level,
    location,
    userAgent as user_agent,
    case
        when reject_reason is null then epoch_ms(cast(trunc(registration) as bigint))
    end as registered_at,
    gender,
    artist,
    song,
    case
        when reject_reason is null then cast(floor(length * 1000 + 0.5) as bigint)
    end as song_milliseconds,
    cast(
        hash(
            ts, coalesce(typed_user_id, userId), sessionId, page, auth, method, status, level,
            itemInSession, location, userAgent, registration, gender, artist, song, length
        ) >> 1 as bigint
    ) as content_hash
from checked;
