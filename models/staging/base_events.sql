-- The one wide write: each raw line is parsed and written once, all else reads this table. An
-- incremental run appends the files that are new in the landing folder.
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        partition_by=['event_date'],
        tblproperties=event_table_properties(),
    )
}}

with

regular_files as (

    select
        ts,
        userid,
        sessionid,
        page,
        auth,
        method,
        status,
        level,
        iteminsession,
        location,
        useragent,
        registration,
        gender,
        artist,
        song,
        length,
        _corrupt_record,
        false as is_several_values,
        false as has_nested_value,
        {{ file_name_in_folder('_metadata.file_path') }} as source_file,
        _metadata.file_size as source_file_bytes,
        _metadata.file_modification_time as source_file_modified_at
    from {{ source('raw', 'events') }}
    where {{ is_in_new_file('_metadata.file_path', is_irregular=false) }}

),

irregular_files as (

    select
        value,
        startswith(ltrim(value), '{') as is_object,
        {{ outline('value') }} as outline,
        {{ file_name_in_folder('_metadata.file_path') }} as source_file,
        _metadata.file_size as source_file_bytes,
        _metadata.file_modification_time as source_file_modified_at
    from {{ source('raw', 'lines') }}
    where
        {{ is_in_new_file('_metadata.file_path', is_irregular=true) }}
        and trim(both ' \t' from value) <> ''

),

irregular_lines as (

    select
        value,
        is_object and outline <> '0' as is_several_values,
        case
            when is_object and outline = '0' and is_valid_utf8(value)
                then from_json(
                        value,
                        '{{ raw_event_fields() }}',
                        map('mode', 'PERMISSIVE', 'columnNameOfCorruptRecord', '_corrupt_record')
                    )
        end as fields,
        source_file,
        source_file_bytes,
        source_file_modified_at
    from irregular_files

),

raw_lines as (

    select * from regular_files
    union all
    select
        fields.* except (_corrupt_record),
        case when fields is null then value else fields._corrupt_record end as _corrupt_record,
        is_several_values,
        -- the reader gives a nested value to a text field as json
        fields.page rlike '^[{\\[]' or fields.userId rlike '^[{\\[]'
        or exists(
            array(
                fields.auth, fields.method, fields.level, fields.location, fields.userAgent,
                fields.gender, fields.artist, fields.song
            ),
            text -> text rlike '^[{\\[]"'
        )
            as has_nested_value,
        source_file,
        source_file_bytes,
        source_file_modified_at
    from irregular_lines

),

checked as (

    -- the first rule that a line breaks is its reason; comparisons with null break no rule
    select
        *,
        case
            when is_several_values then 'not_json'
            when _corrupt_record is not null and get_json_object(_corrupt_record, '$') is null
                then 'not_json'
            when _corrupt_record is not null then 'wrong_type'
            when has_nested_value then 'wrong_type'
            when iteminsession not between 0 and 2147483647 or status not between 0 and 2147483647
                then 'wrong_type'
            when ts is null then 'missing_timestamp'
            -- outside of 2000 to 2099; `stg_event_dates` finds what is years from the log itself
            when ts not between 946684800000 and 4102444799999 then 'timestamp_out_of_range'
            when coalesce(page, '') = '' then 'missing_page'
            when sessionid is null then 'missing_session'
            when length < 0 or length > 86400 then 'length_out_of_range'
            when registration < 0 or registration > 4102444799999 then 'registration_out_of_range'
        end as reject_reason
    from raw_lines

),

quarantined as (

    select
        *,
        -- the parsed fields stand in for a line that is valid json
        case
            when _corrupt_record is not null then _corrupt_record
            when reject_reason is not null
                then to_json(
                        named_struct(
                            'ts', ts,
                            -- of a nested value, which may hold a name, only that it was one
                            'userId', regexp_replace(userid, '(?s)^[\\[{].*', '***'),
                            'sessionId', sessionid,
                            'page', regexp_replace(page, '(?s)^[\\[{].*', '***'),
                            'auth', regexp_replace(auth, '(?s)^[\\[{]".*', '***'),
                            'method', regexp_replace(method, '(?s)^[\\[{]".*', '***'),
                            'status', status,
                            'level', regexp_replace(level, '(?s)^[\\[{]".*', '***'),
                            'itemInSession', iteminsession,
                            'location', regexp_replace(location, '(?s)^[\\[{]".*', '***'),
                            'userAgent', regexp_replace(useragent, '(?s)^[\\[{]".*', '***'),
                            'registration', registration,
                            'gender', regexp_replace(gender, '(?s)^[\\[{]".*', '***'),
                            'artist', regexp_replace(artist, '(?s)^[\\[{]".*', '***'),
                            'song', regexp_replace(song, '(?s)^[\\[{]".*', '***'),
                            'length', length
                        )
                    )
        end as rejected_line
    from checked

),

events as (

    select
        source_file,
        source_file_bytes,
        source_file_modified_at,
        current_timestamp() as loaded_at,
        reject_reason,
        {{ mask_names('rejected_line') }} as raw_line,
        case when reject_reason is null then cast(timestamp_millis(ts) as date) end as event_date,
        case when reject_reason is null then timestamp_millis(ts) end as event_at,
        -- logged-out visitors: an empty id, or a pseudo-user whose profile is empty
        case
            when userid = '' or (registration is null and gender is null) then null
            when reject_reason = 'wrong_type' then null
            else userid
        end as user_id,
        sessionid as session_id,
        try_cast(iteminsession as int) as item_in_session,
        -- a nested value may hold a name: only the masked line keeps it
        if(reject_reason <=> 'wrong_type', null, page) as page,
        if(reject_reason <=> 'wrong_type', null, auth) as auth,
        if(reject_reason <=> 'wrong_type', null, method) as http_method,
        try_cast(status as int) as http_status,
        if(reject_reason <=> 'wrong_type', null, level) as level,
        if(reject_reason <=> 'wrong_type', null, location) as location,
        if(reject_reason <=> 'wrong_type', null, useragent) as user_agent,
        case
            when reject_reason is null then timestamp_millis(cast(registration as bigint))
        end as registered_at,
        if(reject_reason <=> 'wrong_type', null, gender) as gender,
        if(reject_reason <=> 'wrong_type', null, artist) as artist,
        if(reject_reason <=> 'wrong_type', null, song) as song,
        case
            when reject_reason is null then floor(length * 1000 + 0.5)
        end as song_milliseconds,
        xxhash64(
            ts, userid, sessionid, page, auth, method, status, level, iteminsession, location,
            useragent, registration, gender, artist, song, length
        ) as content_hash
    from quarantined

)

select * from events
