-- The log of a podcast app: names of its own, a nested payload, texts for times and visits. What
-- the columns have to hold, and which reasons there are, is in models/staging/base_events.yml.
-- depends_on: {{ ref('base_files') }}
{{
    config(
        schema='staging',
        meta={'updated_by': 'files'},
        partition_by=['event_date'],
        tblproperties=event_table_properties(),
    )
}}

with

new_lines as (

    select
        value as line,
        -- Spark's reader takes the first value of a line and stops
        {{ is_one_object('value') }} and is_valid_utf8(value) as is_one_object,
        {{ file_name_in_folder('_metadata.file_path') }} as source_file,
        _metadata.file_size as source_file_bytes,
        _metadata.file_modification_time as source_file_modified_at
    from {{ source('raw', 'lines') }}
    where {{ is_file_to_load('_metadata.file_path') }} and trim(both ' \t' from value) <> ''

),

parsed_lines as (

    -- what is not listed is never read: of the member, the name
    select
        *,
        case
            when is_one_object
                then {{ parsed('line', "
                    event_time string, screen string, visit string, step bigint,
                    member struct<id: string, joined: string>,
                    context struct<plan: string, device: string, city: string>,
                    episode struct<show: string, title: string, minutes: double>,
                    _corrupt_record string
                ") }}
        end as log
    from new_lines

),

typed_lines as (

    select
        *,
        try_cast(log.event_time as timestamp) as event_at,
        try_cast(log.member.joined as timestamp) as registered_at,
        cast(floor(log.episode.minutes * 60000 + 0.5) as bigint) as song_milliseconds
    from parsed_lines

),

checked as (

    select
        *,
        case
            when log is null or log._corrupt_record is not null
                then if({{ is_json('line') }}, 'wrong_type', 'not_json')
            when log.step not between 0 and 2147483647 then 'wrong_type'
            when {{ is_no_user_id('log.member.id') }} then 'wrong_type'
            when log.member.joined is not null and registered_at is null then 'wrong_type'
            when log.event_time is null then 'missing_timestamp'
            when event_at is null then 'wrong_type'
            when year(event_at) not between 2000 and 2099 then 'timestamp_out_of_range'
            when
                year(source_file_modified_at) >= 2000
                and event_at > source_file_modified_at + interval 1 day
                then 'later_than_its_file'
            when coalesce(trim(log.screen), '') = '' then 'missing_page'
            when coalesce(trim(log.visit), '') = '' then 'missing_session'
            when song_milliseconds not between 0 and 86400000 then 'length_out_of_range'
            when year(registered_at) not between 2000 and 2099 then 'registration_out_of_range'
        end as reject_reason
    from typed_lines

),

events as (

    select
        source_file,
        source_file_bytes,
        source_file_modified_at,
        current_timestamp() as loaded_at,
        reject_reason,
        case when reject_reason is not null then {{ mask_names('line') }} end as raw_line,
        case when reject_reason is null then cast(event_at as date) end as event_date,
        case when reject_reason is null then event_at end as event_at,
        {{ user_id('log.member.id') }} as user_id,
        -- a text: the same visit has the same number in every load
        xxhash64(log.visit) as session_id,
        try_cast(log.step as int) as item_in_session,
        log.screen as page,
        cast(null as string) as auth,
        cast(null as string) as http_method,
        cast(null as int) as http_status,
        nullif(lower(trim(log.context.plan)), '') as level,
        log.context.city as location,
        log.context.device as user_agent,
        case when reject_reason is null then registered_at end as registered_at,
        cast(null as string) as gender,
        log.episode.show as artist,
        log.episode.title as song,
        case when reject_reason is null then song_milliseconds end as song_milliseconds,
        -- json leaves out what is null, so it also tells which fields are
        xxhash64(to_json(log)) as content_hash
    from checked

)

select * from events
