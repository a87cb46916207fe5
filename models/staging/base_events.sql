-- The one wide write: each raw line is parsed and written once, all else reads this table. A build
-- loads the files of the landing folder that are new or have changed.
-- depends_on: {{ ref('base_files') }}
{{
    config(
        meta={'updated_by': 'files'},
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
    where {{ is_file_to_load('_metadata.file_path', is_irregular=false) }}

),

irregular_files as (

    select
        value,
        {{ is_flat_object('value') }} as is_flat_object,
        {{ is_flat_object('value') }} or {{ is_one_object('value') }} as is_one_object,
        {{ file_name_in_folder('_metadata.file_path') }} as source_file,
        _metadata.file_size as source_file_bytes,
        _metadata.file_modification_time as source_file_modified_at
    from {{ source('raw', 'lines') }}
    where
        {{ is_file_to_load('_metadata.file_path', is_irregular=true) }}
        and trim(both ' \t' from value) <> ''

),

irregular_lines as (

    select
        value,
        is_one_object,
        case
            when is_one_object and is_valid_utf8(value)
                then {{ parsed('value', raw_event_fields()) }}
        end as fields,
        -- the reader gives a nested value to a text field as its json: a variant knows the type
        case
            when is_one_object and is_valid_utf8(value) and not is_flat_object
                then {{ parsed('value', raw_text_fields('variant')) }}
        end as texts,
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
        not is_one_object and startswith(ltrim(' \t', value), '{') as is_several_values,
        coalesce(
            texts._corrupt_record is not null
            or {{ without_texts('to_json(texts)') }} rlike '.[{\\[]',
            false
        ) as has_nested_value,
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
            when _corrupt_record is not null and not {{ is_json('_corrupt_record') }}
                then 'not_json'
            when _corrupt_record is not null then 'wrong_type'
            when has_nested_value then 'wrong_type'
            when iteminsession not between 0 and 2147483647 or status not between 0 and 2147483647
                then 'wrong_type'
            when {{ is_no_user_id('userid') }} then 'wrong_type'
            when ts is null then 'missing_timestamp'
            -- outside of 2000 to 2099; `log_calendar` finds what is far from the log itself
            when ts not between 946684800000 and 4102444799999 then 'timestamp_out_of_range'
            -- a day for clocks that differ and local time; a file of before 2000 has lost its time
            when
                unix_millis(source_file_modified_at) >= 946684800000
                and ts > unix_millis(source_file_modified_at) + 86400000
                then 'later_than_its_file'
            when coalesce(trim(page), '') = '' then 'missing_page'
            when sessionid is null then 'missing_session'
            when length < 0 or length > 86400 then 'length_out_of_range'
            when registration not between 946684800000 and 4102444799999
                then 'registration_out_of_range'
            when registration <> floor(registration) then 'wrong_type'
        end as reject_reason,
        {{ user_id('userid') }} as typed_user_id
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
                            'userId', {{ unless_nested('userid') }},
                            'sessionId', sessionid,
                            'page', {{ unless_nested('page') }},
                            'auth', {{ unless_nested('auth') }},
                            'method', {{ unless_nested('method') }},
                            'status', status,
                            'level', {{ unless_nested('level') }},
                            'itemInSession', iteminsession,
                            'location', {{ unless_nested('location') }},
                            'userAgent', {{ unless_nested('useragent') }},
                            'registration', registration,
                            'gender', {{ unless_nested('gender') }},
                            'artist', {{ unless_nested('artist') }},
                            'song', {{ unless_nested('song') }},
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
        make_valid_utf8({{ mask_names('rejected_line') }}) as raw_line,
        case when reject_reason is null then cast(timestamp_millis(ts) as date) end as event_date,
        case when reject_reason is null then timestamp_millis(ts) end as event_at,
        -- logged-out visitors: no id, or a pseudo-user whose profile is empty
        case
            when registration is null and gender is null or reject_reason <=> 'wrong_type' then null
            else typed_user_id
        end as user_id,
        sessionid as session_id,
        try_cast(iteminsession as int) as item_in_session,
        -- a nested value may hold a name: only the masked line keeps it
        if(reject_reason <=> 'wrong_type', null, page) as page,
        if(reject_reason <=> 'wrong_type', null, auth) as auth,
        if(reject_reason <=> 'wrong_type', null, method) as http_method,
        try_cast(status as int) as http_status,
        case
            when reject_reason <=> 'wrong_type' then null
            when level in ('paid', 'free') then level
            else nullif(lower(trim(level)), '')
        end as level,
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
        -- a null leaves the hash as it is, so it also has to see which fields are null
        xxhash64(
            ts, coalesce(typed_user_id, userid), sessionid, page, auth, method, status, level,
            iteminsession, location, useragent, registration, gender, artist, song, length,
            userid is null, page is null, auth is null, method is null, status is null,
            level is null, iteminsession is null, location is null, useragent is null,
            registration is null, gender is null, artist is null, song is null, length is null
        ) as content_hash
    from quarantined

)

select * from events
