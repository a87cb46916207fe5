-- The tables of the dbt project, made by DuckDB from the same files: one statement per model, under
-- the model's name, in the order in which dbt builds them.
--
-- Set beforehand: the variables raw_files (list of paths) and raw_folder (without a last slash).
--
-- The same result, not the same text: each statement is written as one would write it for DuckDB.
-- What is not the same:
--   * content_hash is DuckDB's own 64-bit hash: its values are not compared, and events that nothing
--     else puts in order may be paired in another one in user_day_transitions and weekly_charts;
--   * a line that is not JSON or has a wrong type is read as nulls (ignore_errors), so that input
--     with such lines shows other reasons here, and no text of the line;
--   * the views of scores, churn_risk among them, which read what the ML step writes, and
--     stg_events_rejected are left out: no table reads them.

create table page_catalogue as
select *
from read_csv(getvariable('page_catalogue'), all_varchar = true);


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
        getvariable('raw_files'),
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
from read_blob(getvariable('raw_files')) as files
inner join file_lines on files.filename = file_lines.filename;


create table base_events as
with

files as (

    -- content is not asked for, so that the files are not read here
    select
        filename,
        size as source_file_bytes,
        last_modified as source_file_modified_at
    from read_blob(getvariable('raw_files'))

),

lines as (

    select *
    from read_ndjson(
        getvariable('raw_files'),
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
    hash(
        ts, coalesce(typed_user_id, userId), sessionId, page, auth, method, status, level,
        itemInSession, location, userAgent, registration, gender, artist, song, length
    ) as content_hash
from checked;


create table duplicate_candidates as
select
    event_date,
    content_hash,
    count(*) as lines
from base_events
where event_date is not null
group by event_date, content_hash
having count(*) > 1;


create table stg_line_counts as
select
    source_file,
    event_date,
    reject_reason,
    max(source_file_bytes) as file_bytes,
    max(source_file_modified_at) as file_modified_at,
    min(loaded_at) as loaded_at,
    count(*) as lines
from base_events
group by source_file, event_date, reject_reason;


create table log_calendar as
with

dates as (

    select
        event_date,
        sum(lines) as accepted_lines,
        event_date - lag(event_date) over (order by event_date) > 365 as is_a_year_later
    from stg_line_counts
    where event_date is not null
    group by event_date

),

weeks as (

    select
        *,
        count(*) filter (where is_a_year_later) over (
            order by event_date rows unbounded preceding
        ) as piece,
        count(*) over from_it >= 4
        or sum(accepted_lines) over from_it >= avg(accepted_lines) over () / 10 as can_begin,
        count(*) over up_to_it >= 4
        or sum(accepted_lines) over up_to_it >= avg(accepted_lines) over () / 10 as can_end
    from dates
    window
        from_it as (
            order by event_date range between current row and interval 6 days following
        ),
        up_to_it as (
            order by event_date range between interval 6 days preceding and current row
        )

),

period as (

    select
        min(event_date) filter (where can_begin) as first_date,
        max(event_date) filter (where can_end) as last_date
    from weeks
    group by piece
    order by sum(accepted_lines) desc, piece desc
    limit 1

),

log_dates as (

    select
        event_date,
        accepted_lines >= coalesce(avg(accepted_lines) over (
            order by event_date rows between 28 preceding and 1 preceding
        ), 0) / 10 as has_volume
    from dates
    inner join period on event_date between first_date and last_date

)

select
    event_date,
    accepted_lines,
    has_volume is not null as is_in_log_period,
    has_volume is not null and count(*) filter (where has_volume) over (
        order by event_date rows between current row and unbounded following
    ) >= 2 as is_complete
from dates
left join log_dates using (event_date);


create table churn_calendar as
select
    min(event_date) as first_event_date,
    max(event_date) as last_event_date,
    max(event_date) filter (where is_complete) as last_complete_date,
    last_complete_date + 1 as current_snapshot_date
from log_calendar
where is_in_log_period
having count(*) > 0;


create table duplicate_events as
select
    event_date,
    event_at,
    user_id,
    session_id,
    item_in_session,
    page,
    auth,
    http_method,
    http_status,
    level,
    location,
    user_agent,
    registered_at,
    gender,
    artist,
    song,
    song_milliseconds,
    content_hash,
    count(*) as lines,
    list(source_file order by source_file) as source_files
from base_events
semi join duplicate_candidates using (event_date, content_hash)
group by all;


create table ingested_files as
with

loaded as (

    select
        line_counts.source_file,
        sum(line_counts.lines) as lines,
        min(line_counts.loaded_at) as loaded_at,
        coalesce(
            sum(line_counts.lines) filter (where log_calendar.is_in_log_period is not true), 0
        ) as rejected_lines
    from stg_line_counts as line_counts
    left join log_calendar using (event_date)
    group by line_counts.source_file

),

repeats as (

    select unnest(source_files[2:]) as source_file
    from duplicate_events
    inner join log_calendar using (event_date)
    where is_in_log_period and lines > 1

),

duplicates as (

    select
        source_file,
        count(*) as duplicate_lines
    from repeats
    group by source_file

),

landed as (

    select
        replace(filename, getvariable('raw_folder') || '/', '') as source_file,
        size as file_bytes,
        last_modified as file_modified_at
    from read_blob(getvariable('raw_files'))

)

select
    source_file,
    if(loaded.lines is null, 'without_lines', 'loaded') as file_status,
    landed.file_bytes,
    landed.file_modified_at,
    loaded.loaded_at,
    1::bigint as file_versions,
    coalesce(loaded.lines, 0) as lines,
    coalesce(loaded.lines, 0) - coalesce(loaded.rejected_lines, 0)
    - coalesce(duplicates.duplicate_lines, 0) as staged_events,
    coalesce(loaded.rejected_lines, 0) as rejected_lines,
    coalesce(duplicates.duplicate_lines, 0) as duplicate_lines
from landed
left join loaded using (source_file)
left join duplicates using (source_file);


create view stg_events as
with

log_period as (

    select
        min(event_date) as first_event_date,
        max(event_date) as last_event_date
    from log_calendar
    where is_in_log_period

),

single_events as (

    select
        event_date,
        event_at,
        user_id,
        session_id,
        item_in_session,
        page,
        auth,
        http_method,
        http_status,
        level,
        location,
        user_agent,
        registered_at,
        gender,
        artist,
        song,
        song_milliseconds,
        content_hash
    from base_events
    anti join duplicate_candidates using (event_date, content_hash)

),

all_events as (

    select * from single_events
    union all
    select * exclude (lines, source_files) from duplicate_events

)

select
    all_events.* exclude (user_agent),
    trim(all_events.user_agent, '"') as user_agent,
    case pages.page_category
        when 'upgrade' then true
        when 'downgrade' then false
        else coalesce(all_events.level = 'paid', false)
    end as is_paid,
    coalesce(pages.page_category, 'unknown') as page_category
from all_events
left join page_catalogue as pages using (page)
where
    all_events.event_date >= (select first_event_date from log_period)
    and all_events.event_date <= (select last_event_date from log_period);


create table fct_subscription_changes as
select
    user_id,
    event_at as changed_at,
    page_category as change_type,
    min(event_date) as change_date,
    min(session_id) as session_id,
    bool_or(coalesce(level = 'paid', false)) as is_paid_on_page
from stg_events
where user_id is not null and page_category in ('upgrade', 'downgrade', 'cancellation')
group by user_id, event_at, page_category;


create table stg_session_days as
select
    user_id,
    session_id,
    event_date as activity_date,
    count(*) as events,
    count(*) filter (where is_paid) as paid_events,
    count(*) filter (where page_category = 'song') as songs,
    cast(
        coalesce(sum(song_milliseconds) filter (where page_category = 'song'), 0) as bigint
    ) as listening_milliseconds,
    count(*) filter (where page_category = 'thumbs_up') as thumbs_up,
    count(*) filter (where page_category = 'thumbs_down') as thumbs_down,
    count(*) filter (where page_category = 'playlist_add') as playlist_adds,
    count(*) filter (where page_category = 'friend_add') as friend_adds,
    count(*) filter (where page_category = 'advert') as adverts,
    count(*) filter (where page_category = 'error') as errors,
    count(*) filter (where page_category = 'home') as home_visits,
    count(*) filter (where page_category = 'help') as help_visits,
    count(*) filter (where page_category in ('settings', 'settings_save')) as settings_visits,
    count(*) filter (where page_category = 'logout') as logouts,
    count(*) filter (where page_category = 'upgrade_visit') as upgrade_visits,
    count(*) filter (where page_category = 'downgrade_visit') as downgrade_visits,
    count(*) filter (where page_category = 'upgrade') as upgrades,
    count(*) filter (where page_category = 'downgrade') as downgrades,
    count(*) filter (where page_category = 'cancellation') as cancellations,
    min(event_at) as first_event_at,
    max(event_at) as last_event_at,
    max(event_at) filter (where is_paid) as last_paid_event_at,
    max(event_at) filter (where not is_paid) as last_free_event_at,
    max(event_at) filter (where page_category = 'song') as last_song_at,
    max(event_at) filter (where page_category = 'advert') as last_advert_at,
    max(event_at) filter (where page_category = 'thumbs_up') as last_thumbs_up_at,
    max(event_at) filter (where page_category = 'thumbs_down') as last_thumbs_down_at,
    max(event_at) filter (where page_category = 'error') as last_error_at,
    max(event_at) filter (where page_category = 'home') as last_home_at,
    max(event_at) filter (where page_category = 'logout') as last_logout_at,
    max(event_at) filter (where page_category = 'upgrade_visit') as last_upgrade_visit_at,
    max(event_at) filter (where page_category = 'downgrade_visit') as last_downgrade_visit_at,
    min(registered_at) as registered_at
from stg_events
where user_id is not null
group by user_id, session_id, event_date;


create table stg_user_songs as
select
    user_id,
    hash(song) as song_hash
from stg_events
where user_id is not null and page_category = 'song' and song is not null
group by user_id, hash(song);


create table user_day_transitions as
with

pairs as (

    select
        user_id,
        event_date,
        event_at,
        session_id,
        page_category,
        is_paid,
        lag(event_at) over user_events as previous_event_at,
        lag(session_id) over user_events as previous_session_id,
        lag(page_category) over user_events as previous_page_category,
        lag(is_paid) over user_events as was_paid,
        lead(event_at) over user_events is null as is_last
    from stg_events
    where user_id is not null
    window user_events as (
        partition by user_id, event_date
        order by event_at, session_id, item_in_session nulls first, content_hash
    )

),

flagged_pairs as (

    select
        *,
        previous_event_at is null as is_first,
        session_id <> previous_session_id as is_session_change,
        previous_page_category = 'song' and was_paid as follows_paid_song,
        previous_page_category = 'song' and not was_paid as follows_free_song,
        previous_page_category = 'advert' as follows_advert
    from pairs

)

select
    user_id,
    event_date as activity_date,
    min(event_at) as first_event_at,
    max(session_id) filter (where is_first) as first_session_id,
    max(page_category) filter (where is_first) as first_page_category,
    max(event_at) as last_event_at,
    max(session_id) filter (where is_last) as last_session_id,
    max(page_category) filter (where is_last) as last_page_category,
    bool_or(is_paid) filter (where is_last) as last_is_paid,
    count(*) filter (where is_session_change) as session_changes,
    max(event_at) filter (where is_session_change) as last_session_change_at,
    cast(
        coalesce(
            sum(epoch_ms(event_at) // 1000 - epoch_ms(previous_event_at) // 1000)
                filter (where is_session_change),
            0
        ) as bigint
    ) as idle_seconds,
    count(*) filter (where follows_paid_song) as events_after_song_paid,
    count(*) filter (where follows_free_song) as events_after_song_free,
    count(*) filter (where follows_paid_song and is_session_change)
        as session_ends_after_song_paid,
    count(*) filter (where follows_free_song and is_session_change)
        as session_ends_after_song_free,
    count(*) filter (where follows_advert and is_session_change) as session_ends_after_advert,
    count(*) filter (where follows_paid_song and not is_session_change and page_category = 'advert')
        as adverts_after_song_paid,
    count(*) filter (where follows_free_song and not is_session_change and page_category = 'advert')
        as adverts_after_song_free,
    count(*) filter (
        where follows_paid_song and not is_session_change and page_category = 'thumbs_up'
    ) as thumbs_up_after_song_paid,
    count(*) filter (
        where follows_free_song and not is_session_change and page_category = 'thumbs_up'
    ) as thumbs_up_after_song_free,
    count(*) filter (
        where follows_paid_song and not is_session_change and page_category = 'thumbs_down'
    ) as thumbs_down_after_song_paid,
    count(*) filter (
        where follows_free_song and not is_session_change and page_category = 'thumbs_down'
    ) as thumbs_down_after_song_free,
    count(*) filter (
        where follows_free_song and not is_session_change and page_category = 'upgrade_visit'
    ) as upgrade_visits_after_song_free,
    count(*) filter (
        where follows_paid_song and not is_session_change and page_category = 'downgrade_visit'
    ) as downgrade_visits_after_song_paid
from flagged_pairs
group by user_id, event_date;


create table fct_user_days as
select
    user_id,
    activity_date,
    count(*) as sessions,
    cast(sum(events) as bigint) as events,
    cast(sum(paid_events) as bigint) as paid_events,
    cast(sum(songs) as bigint) as songs,
    cast(sum(listening_milliseconds) as bigint) as listening_milliseconds,
    cast(sum(thumbs_up) as bigint) as thumbs_up,
    cast(sum(thumbs_down) as bigint) as thumbs_down,
    cast(sum(playlist_adds) as bigint) as playlist_adds,
    cast(sum(friend_adds) as bigint) as friend_adds,
    cast(sum(adverts) as bigint) as adverts,
    cast(sum(errors) as bigint) as errors,
    cast(sum(home_visits) as bigint) as home_visits,
    cast(sum(help_visits) as bigint) as help_visits,
    cast(sum(settings_visits) as bigint) as settings_visits,
    cast(sum(logouts) as bigint) as logouts,
    cast(sum(upgrade_visits) as bigint) as upgrade_visits,
    cast(sum(downgrade_visits) as bigint) as downgrade_visits,
    cast(sum(upgrades) as bigint) as upgrades,
    cast(sum(downgrades) as bigint) as downgrades,
    cast(sum(cancellations) as bigint) as cancellations,
    min(first_event_at) as first_event_at,
    max(last_event_at) as last_event_at,
    max(last_paid_event_at) as last_paid_event_at,
    max(last_free_event_at) as last_free_event_at,
    max(last_song_at) as last_song_at,
    max(last_advert_at) as last_advert_at,
    max(last_thumbs_up_at) as last_thumbs_up_at,
    max(last_thumbs_down_at) as last_thumbs_down_at,
    max(last_error_at) as last_error_at,
    max(last_home_at) as last_home_at,
    max(last_logout_at) as last_logout_at,
    max(last_upgrade_visit_at) as last_upgrade_visit_at,
    max(last_downgrade_visit_at) as last_downgrade_visit_at,
    min(registered_at) as registered_at
from stg_session_days
group by user_id, activity_date;


create table stg_sessions as
with

session_days as (

    select
        *,
        epoch_ms(first_event_at) // 1000 - epoch_ms(lag(last_event_at) over (
            partition by user_id, session_id order by activity_date
        )) // 1000 as pause_seconds
    from stg_session_days

)

select
    user_id,
    session_id,
    min(activity_date) as session_date,
    min(first_event_at) as started_at,
    max(last_event_at) as ended_at,
    cast(
        epoch_ms(max(last_event_at)) // 1000 - epoch_ms(min(first_event_at)) // 1000
        - coalesce(sum(pause_seconds) filter (where pause_seconds > 86400), 0) as bigint
    ) as session_seconds,
    cast(
        coalesce(sum(pause_seconds) filter (where pause_seconds > 86400), 0) as bigint
    ) as pause_seconds,
    max(activity_date) filter (where pause_seconds > 86400) as last_resumed_date,
    cast(sum(events) as bigint) as events,
    cast(sum(songs) as bigint) as songs,
    cast(sum(listening_milliseconds) as bigint) as listening_milliseconds,
    cast(sum(thumbs_up) as bigint) as thumbs_up,
    cast(sum(thumbs_down) as bigint) as thumbs_down,
    cast(sum(playlist_adds) as bigint) as playlist_adds,
    cast(sum(friend_adds) as bigint) as friend_adds,
    cast(sum(adverts) as bigint) as adverts,
    cast(sum(errors) as bigint) as errors,
    coalesce(max(last_paid_event_at) >= max(last_free_event_at), sum(paid_events) > 0)
        as is_paid_at_end
from session_days
group by user_id, session_id;


create table dim_users as
with

profiles as (

    select
        user_id,
        registered_at,
        gender,
        location,
        user_agent,
        max(event_at) as last_seen_at
    from stg_events
    where user_id is not null
    group by user_id, registered_at, gender, location, user_agent
    qualify
        row_number() over (
            partition by user_id
            order by
                last_seen_at desc,
                registered_at nulls first,
                gender nulls first,
                location nulls first,
                user_agent nulls first
        ) = 1

),

activity as (

    select
        user_id,
        count(*) as active_days,
        cast(sum(events) as bigint) as events,
        cast(sum(songs) as bigint) as songs,
        cast(sum(listening_milliseconds) as bigint) as listening_milliseconds,
        min(first_event_at) as first_event_at,
        max(last_event_at) as last_event_at,
        coalesce(max(last_paid_event_at) >= max(last_free_event_at), sum(paid_events) > 0)
            as is_paid
    from fct_user_days
    group by user_id

),

sessions as (

    select
        user_id,
        count(*) as sessions
    from stg_sessions
    group by user_id

),

variety as (

    select
        user_id,
        count(*) as distinct_songs
    from stg_user_songs
    group by user_id

),

cancellations as (

    select
        user_id,
        min(changed_at) as churned_at
    from fct_subscription_changes
    where change_type = 'cancellation'
    group by user_id

)

select
    activity.user_id,
    profiles.registered_at,
    coalesce(profiles.registered_at > activity.first_event_at, false)
        as is_registered_after_first_event,
    profiles.gender,
    profiles.location,
    nullif(trim(split_part(profiles.location, ',', 1)), '') as metro_area,
    case
        when regexp_full_match(profiles.location, '[^,]*, *[A-Za-z]{2}(-[A-Za-z]{2})* *')
            then nullif(
                    regexp_extract(
                        upper(left(trim(split_part(profiles.location, ',', 2)), 2)),
                        'A[KLRSZ]|C[AOT]|D[CE]|FL|G[AU]|HI|I[ADLN]|K[SY]|LA|M[ADEINOPST]|'
                        || 'N[CDEHJMVY]|O[HKR]|P[AR]|RI|S[CD]|T[NX]|UT|V[AIT]|W[AIVY]'
                    ),
                    ''
                )
    end as state,
    case
        when profiles.user_agent like '%iPhone%' then 'iPhone'
        when profiles.user_agent like '%iPad%' then 'iPad'
        when profiles.user_agent like '%Android%' then 'Android'
        when profiles.user_agent like '%Macintosh%' then 'Mac'
        when profiles.user_agent like '%Windows%' then 'Windows'
        when profiles.user_agent like '%Linux%' then 'Linux'
        when profiles.user_agent is not null then 'other'
    end as platform,
    activity.is_paid,
    case when activity.is_paid then 'paid' else 'free' end as level,
    cancellations.churned_at is not null as is_churned,
    cancellations.churned_at,
    activity.first_event_at,
    activity.last_event_at,
    activity.active_days,
    sessions.sessions,
    activity.events,
    activity.songs,
    coalesce(variety.distinct_songs, 0) as distinct_songs,
    activity.listening_milliseconds
from activity
inner join profiles on activity.user_id = profiles.user_id
inner join sessions on activity.user_id = sessions.user_id
left join variety on activity.user_id = variety.user_id
left join cancellations on activity.user_id = cancellations.user_id;


create table churn_running_totals as
with

days as (

    select
        days.*,
        transitions.* exclude (user_id, activity_date, first_event_at, last_event_at),
        lag(days.activity_date) over user_dates as previous_activity_date,
        lead(days.activity_date) over user_dates as next_activity_date,
        lag(days.last_event_at) over user_dates as previous_event_at,
        lag(transitions.last_session_id) over user_dates as previous_session_id,
        lag(transitions.last_page_category) over user_dates as previous_page_category,
        lag(transitions.last_is_paid) over user_dates as was_paid
    from fct_user_days as days
    inner join user_day_transitions as transitions using (user_id, activity_date)
    window user_dates as (partition by days.user_id order by days.activity_date)

),

flagged_days as (

    select
        *,
        coalesce(activity_date - previous_activity_date > 28, true) as is_stretch_start,
        first_session_id is distinct from previous_session_id as is_session_start,
        previous_page_category = 'song' and was_paid as follows_paid_song,
        previous_page_category = 'song' and not was_paid as follows_free_song,
        if(not is_session_start and follows_paid_song, first_page_category, null)
            as page_after_song_paid,
        if(not is_session_start and follows_free_song, first_page_category, null)
            as page_after_song_free
    from days

),

paired_days as (

    select
        * replace (
            idle_seconds + if(
                is_session_start and previous_event_at is not null,
                epoch_ms(first_event_at) // 1000 - epoch_ms(previous_event_at) // 1000,
                0
            ) as idle_seconds,
            events_after_song_paid + if(follows_paid_song, 1, 0) as events_after_song_paid,
            events_after_song_free + if(follows_free_song, 1, 0) as events_after_song_free,
            session_ends_after_song_paid + if(is_session_start and follows_paid_song, 1, 0)
                as session_ends_after_song_paid,
            session_ends_after_song_free + if(is_session_start and follows_free_song, 1, 0)
                as session_ends_after_song_free,
            session_ends_after_advert
            + if(is_session_start and previous_page_category = 'advert', 1, 0)
                as session_ends_after_advert,
            adverts_after_song_paid + if(page_after_song_paid = 'advert', 1, 0)
                as adverts_after_song_paid,
            adverts_after_song_free + if(page_after_song_free = 'advert', 1, 0)
                as adverts_after_song_free,
            thumbs_up_after_song_paid + if(page_after_song_paid = 'thumbs_up', 1, 0)
                as thumbs_up_after_song_paid,
            thumbs_up_after_song_free + if(page_after_song_free = 'thumbs_up', 1, 0)
                as thumbs_up_after_song_free,
            thumbs_down_after_song_paid + if(page_after_song_paid = 'thumbs_down', 1, 0)
                as thumbs_down_after_song_paid,
            thumbs_down_after_song_free + if(page_after_song_free = 'thumbs_down', 1, 0)
                as thumbs_down_after_song_free,
            upgrade_visits_after_song_free + if(page_after_song_free = 'upgrade_visit', 1, 0)
                as upgrade_visits_after_song_free,
            downgrade_visits_after_song_paid
            + if(page_after_song_paid = 'downgrade_visit', 1, 0)
                as downgrade_visits_after_song_paid
        ),
        session_changes + if(is_session_start, 1, 0) as session_starts,
        coalesce(last_session_change_at, if(is_session_start, first_event_at, null))
            as last_session_started_at
    from flagged_days

)

select
    user_id,
    activity_date,
    min(activity_date) over past as first_activity_date,
    min(registered_at) over past as registered_at,
    count(*) over past as active_days_to_date,
    cast(sum(events) over past as bigint) as events_to_date,
    cast(sum(paid_events) over past as bigint) as paid_events_to_date,
    cast(sum(songs) over past as bigint) as songs_to_date,
    cast(sum(listening_milliseconds) over past as bigint) as listening_milliseconds_to_date,
    cast(sum(thumbs_up) over past as bigint) as thumbs_up_to_date,
    cast(sum(thumbs_down) over past as bigint) as thumbs_down_to_date,
    cast(sum(playlist_adds) over past as bigint) as playlist_adds_to_date,
    cast(sum(friend_adds) over past as bigint) as friend_adds_to_date,
    cast(sum(adverts) over past as bigint) as adverts_to_date,
    cast(sum(errors) over past as bigint) as errors_to_date,
    cast(sum(home_visits) over past as bigint) as home_visits_to_date,
    cast(sum(help_visits) over past as bigint) as help_visits_to_date,
    cast(sum(settings_visits) over past as bigint) as settings_visits_to_date,
    cast(sum(logouts) over past as bigint) as logouts_to_date,
    cast(sum(upgrade_visits) over past as bigint) as upgrade_visits_to_date,
    cast(sum(downgrade_visits) over past as bigint) as downgrade_visits_to_date,
    cast(sum(cancellations) over past as bigint) as cancellations_to_date,
    cast(sum(session_starts) over past as bigint) as session_starts_to_date,
    cast(sum(idle_seconds) over past as bigint) as idle_seconds_to_date,
    cast(sum(events_after_song_paid) over past as bigint) as events_after_song_paid_to_date,
    cast(sum(events_after_song_free) over past as bigint) as events_after_song_free_to_date,
    cast(sum(session_ends_after_song_paid) over past as bigint)
        as session_ends_after_song_paid_to_date,
    cast(sum(session_ends_after_song_free) over past as bigint)
        as session_ends_after_song_free_to_date,
    cast(sum(session_ends_after_advert) over past as bigint)
        as session_ends_after_advert_to_date,
    cast(sum(adverts_after_song_paid) over past as bigint) as adverts_after_song_paid_to_date,
    cast(sum(adverts_after_song_free) over past as bigint) as adverts_after_song_free_to_date,
    cast(sum(thumbs_up_after_song_paid) over past as bigint)
        as thumbs_up_after_song_paid_to_date,
    cast(sum(thumbs_up_after_song_free) over past as bigint)
        as thumbs_up_after_song_free_to_date,
    cast(sum(thumbs_down_after_song_paid) over past as bigint)
        as thumbs_down_after_song_paid_to_date,
    cast(sum(thumbs_down_after_song_free) over past as bigint)
        as thumbs_down_after_song_free_to_date,
    cast(sum(upgrade_visits_after_song_free) over past as bigint)
        as upgrade_visits_after_song_free_to_date,
    cast(sum(downgrade_visits_after_song_paid) over past as bigint)
        as downgrade_visits_after_song_paid_to_date,
    max(last_session_started_at) over past as last_session_started_at,
    max(last_event_at) over past as last_event_at,
    max(last_paid_event_at) over past as last_paid_event_at,
    max(last_free_event_at) over past as last_free_event_at,
    max(last_song_at) over past as last_song_at,
    max(last_advert_at) over past as last_advert_at,
    max(last_thumbs_up_at) over past as last_thumbs_up_at,
    max(last_thumbs_down_at) over past as last_thumbs_down_at,
    max(last_error_at) over past as last_error_at,
    max(last_home_at) over past as last_home_at,
    max(last_logout_at) over past as last_logout_at,
    max(last_upgrade_visit_at) over past as last_upgrade_visit_at,
    max(last_downgrade_visit_at) over past as last_downgrade_visit_at,
    next_activity_date,
    max(activity_date) filter (where is_stretch_start) over past as stretch_started_on
from paired_days
window past as (
    partition by user_id
    order by activity_date
    rows between unbounded preceding and current row
);


create table churn_features as
with

snapshots as (

    -- what is known of a user after a date is known until the next date with an event
    select
        user_id,
        activity_date,
        -- `least` passes over the null of a user's last date
        least(28, next_activity_date - activity_date, last_event_date + 1 - activity_date)
            as days_known,
        activity_date + cast(unnest(generate_series(1, days_known)) as integer) as snapshot_date
    from churn_running_totals
    cross join churn_calendar
    where cancellations_to_date = 0

),

past_days as (

    -- day_7: the user's last date before the last 7 days. Three columns are sorted for it, and the
    -- wide rows then joined: an asof join would sort those.
    select
        user_id,
        activity_date,
        snapshot_date,
        max(activity_date) over (
            partition by user_id order by snapshot_date
            range between unbounded preceding and interval 7 days preceding
        ) as day_7,
        max(activity_date) over (
            partition by user_id order by snapshot_date
            range between unbounded preceding and interval 28 days preceding
        ) as day_28
    from snapshots

),

population as (

    select
        totals.*,
        past_days.snapshot_date,
        epoch_ms(cast(past_days.snapshot_date as timestamp)) // 1000 as snapshot_seconds,
        totals.active_days_to_date - coalesce(days_7.active_days_to_date, 0)
            as active_days_last_7_days,
        totals.active_days_to_date - coalesce(days_28.active_days_to_date, 0)
            as active_days_last_28_days,
        totals.session_starts_to_date - coalesce(days_7.session_starts_to_date, 0)
            as sessions_last_7_days,
        totals.session_starts_to_date - coalesce(days_28.session_starts_to_date, 0)
            as sessions_last_28_days,
        totals.songs_to_date - coalesce(days_7.songs_to_date, 0)
            as songs_last_7_days,
        totals.songs_to_date - coalesce(days_28.songs_to_date, 0)
            as songs_last_28_days,
        totals.listening_milliseconds_to_date - coalesce(days_7.listening_milliseconds_to_date, 0)
            as listening_milliseconds_last_7_days,
        totals.listening_milliseconds_to_date - coalesce(days_28.listening_milliseconds_to_date, 0)
            as listening_milliseconds_last_28_days,
        totals.thumbs_up_to_date - coalesce(days_7.thumbs_up_to_date, 0)
            as thumbs_up_last_7_days,
        totals.thumbs_up_to_date - coalesce(days_28.thumbs_up_to_date, 0)
            as thumbs_up_last_28_days,
        totals.thumbs_down_to_date - coalesce(days_7.thumbs_down_to_date, 0)
            as thumbs_down_last_7_days,
        totals.thumbs_down_to_date - coalesce(days_28.thumbs_down_to_date, 0)
            as thumbs_down_last_28_days,
        totals.adverts_to_date - coalesce(days_7.adverts_to_date, 0)
            as adverts_last_7_days,
        totals.adverts_to_date - coalesce(days_28.adverts_to_date, 0)
            as adverts_last_28_days,
        totals.errors_to_date - coalesce(days_7.errors_to_date, 0)
            as errors_last_7_days,
        totals.errors_to_date - coalesce(days_28.errors_to_date, 0)
            as errors_last_28_days,
        totals.playlist_adds_to_date - coalesce(days_28.playlist_adds_to_date, 0)
            as playlist_adds_last_28_days,
        totals.friend_adds_to_date - coalesce(days_28.friend_adds_to_date, 0)
            as friend_adds_last_28_days,
        totals.help_visits_to_date - coalesce(days_28.help_visits_to_date, 0)
            as help_visits_last_28_days,
        totals.home_visits_to_date - coalesce(days_28.home_visits_to_date, 0)
            as home_visits_last_28_days,
        totals.settings_visits_to_date - coalesce(days_28.settings_visits_to_date, 0)
            as settings_visits_last_28_days,
        totals.logouts_to_date - coalesce(days_28.logouts_to_date, 0)
            as logouts_last_28_days,
        totals.downgrade_visits_to_date - coalesce(days_28.downgrade_visits_to_date, 0)
            as downgrade_visits_last_28_days,
        totals.upgrade_visits_to_date - coalesce(days_28.upgrade_visits_to_date, 0)
            as upgrade_visits_last_28_days
    from past_days
    inner join churn_running_totals as totals using (user_id, activity_date)
    left join churn_running_totals as days_7
        on past_days.user_id = days_7.user_id and past_days.day_7 = days_7.activity_date
    left join churn_running_totals as days_28
        on past_days.user_id = days_28.user_id and past_days.day_28 = days_28.activity_date

),

labels as (

    select
        user_id,
        change_date - cast(days.days as integer) as snapshot_date,
        bool_or(change_type = 'cancellation') as is_churned,
        bool_or(change_type = 'downgrade') as is_downgraded
    from fct_subscription_changes
    cross join range(10) as days(days)
    group by all

)

select
    user_id,
    snapshot_date,

    coalesce(last_paid_event_at >= last_free_event_at, paid_events_to_date > 0) as is_paid,
    case
        when registered_at < snapshot_date
            then cast(snapshot_date - cast(registered_at as date) as integer)
    end as tenure_days,
    cast(snapshot_date - first_activity_date as integer) as days_since_first_event,
    case last_event_at
        when last_song_at then 'song'
        when last_advert_at then 'advert'
        when last_logout_at then 'logout'
        when last_home_at then 'home'
        when last_thumbs_up_at then 'thumbs_up'
        when last_thumbs_down_at then 'thumbs_down'
        when last_error_at then 'error'
        when last_upgrade_visit_at then 'upgrade_visit'
        when last_downgrade_visit_at then 'downgrade_visit'
        else 'other'
    end as last_event_category,

    (snapshot_seconds - epoch_ms(last_event_at) // 1000) / 3600
        as hours_since_last_event,
    (snapshot_seconds - epoch_ms(last_session_started_at) // 1000) / 3600
        as hours_since_last_session_start,
    (snapshot_seconds - epoch_ms(last_song_at) // 1000) / 3600
        as hours_since_last_song,
    (snapshot_seconds - epoch_ms(last_advert_at) // 1000) / 3600
        as hours_since_last_advert,
    (snapshot_seconds - epoch_ms(last_thumbs_down_at) // 1000) / 3600
        as hours_since_last_thumbs_down,
    (snapshot_seconds - epoch_ms(last_error_at) // 1000) / 3600
        as hours_since_last_error,
    (snapshot_seconds - epoch_ms(last_downgrade_visit_at) // 1000) / 3600
        as hours_since_last_downgrade_visit,
    (snapshot_seconds - epoch_ms(last_upgrade_visit_at) // 1000) / 3600
        as hours_since_last_upgrade_visit,

    active_days_last_7_days,
    active_days_last_28_days,
    sessions_last_7_days,
    sessions_last_28_days,
    songs_last_7_days,
    songs_last_28_days,
    listening_milliseconds_last_7_days,
    listening_milliseconds_last_28_days,
    thumbs_up_last_7_days,
    thumbs_up_last_28_days,
    thumbs_down_last_7_days,
    thumbs_down_last_28_days,
    adverts_last_7_days,
    adverts_last_28_days,
    errors_last_7_days,
    errors_last_28_days,
    playlist_adds_last_28_days,
    friend_adds_last_28_days,
    help_visits_last_28_days,
    home_visits_last_28_days,
    settings_visits_last_28_days,
    logouts_last_28_days,
    downgrade_visits_last_28_days,
    upgrade_visits_last_28_days,

    events_to_date,
    active_days_to_date,
    session_starts_to_date as sessions_to_date,
    songs_to_date,
    adverts_to_date,
    thumbs_up_to_date,
    thumbs_down_to_date,
    errors_to_date,
    friend_adds_to_date,
    playlist_adds_to_date,
    paid_events_to_date,
    events_to_date - paid_events_to_date as free_events_to_date,
    idle_seconds_to_date,
    events_after_song_paid_to_date,
    events_after_song_free_to_date,
    session_ends_after_song_paid_to_date,
    session_ends_after_song_free_to_date,
    session_ends_after_advert_to_date,
    adverts_after_song_paid_to_date,
    adverts_after_song_free_to_date,
    thumbs_up_after_song_paid_to_date,
    thumbs_up_after_song_free_to_date,
    thumbs_down_after_song_paid_to_date,
    thumbs_down_after_song_free_to_date,
    upgrade_visits_after_song_free_to_date,
    downgrade_visits_after_song_paid_to_date,

    thumbs_up_last_28_days / nullif(songs_last_28_days, 0) as thumbs_up_per_song_last_28_days,
    thumbs_down_last_28_days / nullif(songs_last_28_days, 0)
        as thumbs_down_per_song_last_28_days,
    adverts_last_28_days / nullif(songs_last_28_days, 0) as adverts_per_song_last_28_days,
    songs_last_28_days / nullif(sessions_last_28_days, 0) as songs_per_session_last_28_days,
    songs_last_7_days * 3 / nullif(songs_last_28_days - songs_last_7_days, 0)
        as songs_trend_7_over_21_days,
    sessions_last_7_days * 3 / nullif(sessions_last_28_days - sessions_last_7_days, 0)
        as sessions_trend_7_over_21_days,
    thumbs_up_to_date / nullif(songs_to_date, 0) as thumbs_up_per_song_to_date,
    thumbs_down_to_date / nullif(songs_to_date, 0) as thumbs_down_per_song_to_date,
    adverts_to_date / nullif(songs_to_date, 0) as adverts_per_song_to_date,
    (session_ends_after_song_paid_to_date + session_ends_after_song_free_to_date)
    / nullif(songs_to_date, 0) as session_ends_per_song_to_date,
    session_ends_after_advert_to_date / nullif(adverts_to_date, 0)
        as session_ends_per_advert_to_date,
    upgrade_visits_after_song_free_to_date / nullif(events_after_song_free_to_date, 0)
        as upgrade_visits_per_free_song_to_date,
    downgrade_visits_after_song_paid_to_date / nullif(events_after_song_paid_to_date, 0)
        as downgrade_visits_per_paid_song_to_date,
    songs_to_date / nullif(session_starts_to_date, 0) as songs_per_session_to_date,
    idle_seconds_to_date / nullif((session_starts_to_date - 1) * 3600, 0)
        as idle_hours_per_session_to_date,
    case
        when snapshot_date + 9 <= churn_calendar.last_complete_date
            then coalesce(labels.is_churned, false)
    end as is_churned_next_10_days,
    case
        when snapshot_date + 9 <= churn_calendar.last_complete_date
            then coalesce(labels.is_downgraded, false)
    end as is_downgraded_next_10_days,
    snapshot_date - 28 < churn_calendar.first_event_date as is_cut_by_log_start
from population
cross join churn_calendar
left join labels using (user_id, snapshot_date);


create table daily_kpis as
with

dates as (

    select
        cast(unnest(generate_series(
            cast(first_event_date as timestamp), cast(last_event_date as timestamp), interval 1 day
        )) as date) as kpi_date,
        last_complete_date
    from churn_calendar

),

totals as (

    select
        activity_date as kpi_date,
        count(*) as active_users,
        count(*) filter (
            coalesce(last_paid_event_at >= last_free_event_at, paid_events > 0)
        ) as paid_users,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds,
        sum(adverts) as adverts,
        sum(errors) as errors,
        sum(upgrades) as upgrades,
        sum(downgrades) as downgrades,
        sum(cancellations) as cancellations
    from fct_user_days
    group by activity_date

),

lately as (

    -- as the words say it: who was there in the 28 dates
    select
        dates.kpi_date,
        count(distinct days.user_id) as active_users_last_28_days
    from dates
    inner join fct_user_days as days
        on days.activity_date between dates.kpi_date - 27 and dates.kpi_date
    group by dates.kpi_date

),

sessions as (

    select
        session_date as kpi_date,
        count(*) as sessions
    from stg_sessions
    group by session_date

),

all_dates as (

    select
        kpi_date,
        coalesce(kpi_date <= last_complete_date, false) as is_complete,
        coalesce(active_users, 0) as active_users,
        coalesce(paid_users, 0) as paid_users,
        coalesce(active_users - paid_users, 0) as free_users,
        coalesce(active_users_last_28_days, 0) as active_users_last_28_days,
        coalesce(sessions, 0) as sessions,
        cast(coalesce(songs, 0) as bigint) as songs,
        cast(coalesce(listening_milliseconds, 0) as bigint) as listening_milliseconds,
        cast(coalesce(adverts, 0) as bigint) as adverts,
        cast(coalesce(errors, 0) as bigint) as errors,
        cast(coalesce(upgrades, 0) as bigint) as upgrades,
        cast(coalesce(downgrades, 0) as bigint) as downgrades,
        cast(coalesce(cancellations, 0) as bigint) as cancellations
    from dates
    left join totals using (kpi_date)
    left join lately using (kpi_date)
    left join sessions using (kpi_date)

)

select
    *,
    paid_users / nullif(active_users, 0) as paid_share,
    active_users / nullif(active_users_last_28_days, 0) as active_share_of_last_28_days,
    listening_milliseconds / nullif(active_users * 3600000, 0) as listening_hours_per_user
from all_dates;


create table weekly_kpis as
with

user_weeks as (

    select
        cast(date_trunc('week', activity_date) as date) as week_start_date,
        user_id,
        count(*) as active_days,
        coalesce(max(last_paid_event_at) >= max(last_free_event_at), sum(paid_events) > 0)
            as is_paid,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds,
        sum(adverts) as adverts,
        sum(errors) as errors,
        sum(upgrades) as upgrades,
        sum(downgrades) as downgrades,
        sum(cancellations) as cancellations
    from fct_user_days
    group by all

),

totals as (

    select
        week_start_date,
        count(*) as active_users,
        count(*) filter (is_paid) as paid_users,
        count(*) filter (cancellations > 0) as churned_users,
        sum(active_days) as active_user_days,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds,
        sum(adverts) as adverts,
        sum(errors) as errors,
        sum(upgrades) as upgrades,
        sum(downgrades) as downgrades,
        sum(cancellations) as cancellations
    from user_weeks
    group by week_start_date

),

sessions as (

    select
        cast(date_trunc('week', session_date) as date) as week_start_date,
        count(*) as sessions
    from stg_sessions
    group by all

),

weeks as (

    select
        cast(date_trunc('week', kpi_date) as date) as week_start_date,
        count(*) filter (is_complete) = 7 as is_complete,
        last(active_users_last_28_days order by kpi_date) as active_users_last_28_days
    from daily_kpis
    group by all

),

all_weeks as (

    select
        week_start_date,
        is_complete,
        coalesce(active_users, 0) as active_users,
        coalesce(paid_users, 0) as paid_users,
        coalesce(active_users - paid_users, 0) as free_users,
        coalesce(churned_users, 0) as churned_users,
        active_users_last_28_days,
        cast(coalesce(active_user_days, 0) as bigint) as active_user_days,
        coalesce(sessions, 0) as sessions,
        cast(coalesce(songs, 0) as bigint) as songs,
        cast(coalesce(listening_milliseconds, 0) as bigint) as listening_milliseconds,
        cast(coalesce(adverts, 0) as bigint) as adverts,
        cast(coalesce(errors, 0) as bigint) as errors,
        cast(coalesce(upgrades, 0) as bigint) as upgrades,
        cast(coalesce(downgrades, 0) as bigint) as downgrades,
        cast(coalesce(cancellations, 0) as bigint) as cancellations
    from weeks
    left join totals using (week_start_date)
    left join sessions using (week_start_date)

)

select
    *,
    paid_users / nullif(active_users, 0) as paid_share,
    churned_users / nullif(active_users, 0) as churned_share,
    active_users / nullif(active_users_last_28_days, 0) as active_share_of_last_28_days,
    listening_milliseconds / nullif(active_users * 3600000, 0) as listening_hours_per_user
from all_weeks;


create table weekly_retention as
with

users as (

    select
        user_id,
        cast(date_trunc('week', least(
            min(activity_date), cast(min(registered_at) as date)
        )) as date) as cohort_week_start_date,
        case
            when first(
                coalesce(last_paid_event_at >= last_free_event_at, paid_events > 0)
                order by activity_date
            ) then 'paid'
            else 'free'
        end as first_level,
        list(distinct cast(date_trunc('week', activity_date) as date)) as active_weeks
    from fct_user_days
    group by user_id

)

select
    cohort_week_start_date,
    first_level,
    date_diff('day', cohort_week_start_date, week_start_date) // 7 as weeks_since,
    week_start_date,
    cohort_week_start_date < first_event_date as is_from_before_log,
    count(*) as cohort_users,
    count(*) filter (list_contains(active_weeks, week_start_date)) as active_users,
    count(*) filter (list_contains(active_weeks, week_start_date)) / count(*) as retained_share
from users
cross join churn_calendar
inner join weekly_kpis as weeks on users.cohort_week_start_date <= weeks.week_start_date
where weeks.is_complete
group by cohort_week_start_date, first_level, week_start_date, first_event_date;


create table weekly_charts as
with

followed_events as (

    select
        cast(date_trunc('week', event_date) as date) as week_start_date,
        user_id,
        page_category,
        artist,
        song,
        song_milliseconds,
        coalesce(lead(session_id) over user_events = session_id, false) as is_followed,
        epoch_ms(lead(event_at) over user_events) - epoch_ms(event_at) as milliseconds_to_next
    from stg_events
    where
        user_id is not null
        and page_category not in ('thumbs_up', 'thumbs_down', 'playlist_add', 'friend_add')
    window user_events as (
        partition by date_trunc('week', event_date), user_id
        order by event_at, session_id, item_in_session nulls first, content_hash
    )

),

totals as (

    select
        week_start_date,
        case when grouping(song) = 0 then 'song' else 'artist' end as kind,
        artist,
        song,
        count(*) as plays,
        count(distinct user_id) as users,
        count(*) filter (is_followed) as followed_plays,
        count(*) filter (is_followed and milliseconds_to_next < song_milliseconds - 1000)
            as cut_short_plays
    from followed_events
    where page_category = 'song' and artist is not null and song is not null
    group by grouping sets ((week_start_date, artist, song), (week_start_date, artist))

)

select
    week_start_date,
    kind,
    cast(row_number() over (
        partition by week_start_date, kind
        order by plays desc, users desc, artist, song
    ) as integer) as chart_rank,
    artist,
    song,
    plays,
    users,
    followed_plays,
    cut_short_plays,
    cut_short_plays / nullif(followed_plays, 0) as cut_short_share
from totals
qualify chart_rank <= 100;


create table plan_change_funnel as
with

user_weeks as (

    select
        cast(date_trunc('week', activity_date) as date) as week_start_date,
        user_id,
        direction,
        sum(if(direction = 'upgrade', upgrade_visits, downgrade_visits)) as visits,
        sum(if(direction = 'upgrade', upgrades, downgrades)) as submits
    from fct_user_days
    cross join (select unnest(['upgrade', 'downgrade']) as direction)
    group by all

),

totals as (

    select
        week_start_date,
        direction,
        count(*) filter (visits > 0) as visiting_users,
        sum(visits) as visits,
        count(*) filter (submits > 0) as submitting_users,
        sum(submits) as submits,
        count(*) filter (visits > 0 and submits > 0) as converted_users
    from user_weeks
    group by all

)

select
    week_start_date,
    direction,
    coalesce(visiting_users, 0) as visiting_users,
    cast(coalesce(visits, 0) as bigint) as visits,
    coalesce(submitting_users, 0) as submitting_users,
    cast(coalesce(submits, 0) as bigint) as submits,
    coalesce(converted_users, 0) as converted_users,
    converted_users / nullif(visiting_users, 0) as converted_share
from weekly_kpis
cross join (select unnest(['upgrade', 'downgrade']) as direction)
left join totals using (week_start_date, direction);


create table weekly_sessions_by_platform_and_state as
select
    cast(date_trunc('week', sessions.session_date) as date) as week_start_date,
    users.platform,
    users.state,
    count(distinct sessions.user_id) as users,
    count(*) as sessions,
    cast(sum(sessions.session_seconds) as bigint) as session_seconds,
    cast(sum(sessions.songs) as bigint) as songs,
    cast(sum(sessions.listening_milliseconds) as bigint) as listening_milliseconds
from stg_sessions as sessions
inner join dim_users as users using (user_id)
group by all;
