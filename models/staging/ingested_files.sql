-- The ledger. Of the lines of one event, the one in the first file by name is staged.
with

loaded as (

    select
        line_counts.source_file,
        max(line_counts.file_bytes) as file_bytes,
        max(line_counts.file_modified_at) as file_modified_at,
        min(line_counts.loaded_at) as loaded_at,
        sum(line_counts.lines) as lines,
        -- no date: rejected when it was parsed
        sum(case when dates.is_in_log_period then 0 else line_counts.lines end)
            as rejected_lines
    from {{ ref('stg_line_counts') }} as line_counts
    left join {{ ref('log_calendar') }} as dates
        on line_counts.event_date = dates.event_date
    group by line_counts.source_file

),

repeats as (

    select
        duplicates.event_date,
        explode(slice(duplicates.source_files, 2, size(duplicates.source_files))) as source_file
    from {{ ref('duplicate_events') }} as duplicates
    inner join {{ ref('log_calendar') }} as dates
        on duplicates.event_date = dates.event_date
    where dates.is_in_log_period and duplicates.lines > 1

),

duplicates as (

    select
        source_file,
        count(*) as duplicate_lines
    from repeats
    group by source_file

),

versions as (

    select
        source_file,
        count(*) as file_versions
    from {{ ref('base_files') }}
    group by source_file

),

landed as (

    -- a file without a line leaves no row in `base_events`; only the listing knows it
    select
        {{ file_name_in_folder('_metadata.file_path') }} as source_file,
        _metadata.file_size as file_bytes,
        _metadata.file_modification_time as file_modified_at
    from {{ source('raw', 'files') }}

),

files as (

    select
        coalesce(loaded.source_file, landed.source_file) as source_file,
        case
            when landed.source_file is null then 'vanished'
            when loaded.source_file is null then 'without_lines'
            when
                loaded.file_bytes = landed.file_bytes
                and loaded.file_modified_at = landed.file_modified_at
                then 'loaded'
            else 'changed'
        end as file_status,
        coalesce(loaded.file_bytes, landed.file_bytes) as file_bytes,
        coalesce(loaded.file_modified_at, landed.file_modified_at) as file_modified_at,
        loaded.loaded_at,
        coalesce(versions.file_versions, 0) as file_versions,
        coalesce(loaded.lines, 0) as lines,
        coalesce(loaded.lines, 0) - coalesce(loaded.rejected_lines, 0)
        - coalesce(duplicates.duplicate_lines, 0) as staged_events,
        coalesce(loaded.rejected_lines, 0) as rejected_lines,
        coalesce(duplicates.duplicate_lines, 0) as duplicate_lines
    from loaded
    full outer join landed on loaded.source_file = landed.source_file
    left join duplicates on loaded.source_file = duplicates.source_file
    left join versions on coalesce(loaded.source_file, landed.source_file) = versions.source_file

)

select * from files
