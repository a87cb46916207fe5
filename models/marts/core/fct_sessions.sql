with

parts as (

    select
        *,
        unix_seconds(first_event_at)
        - unix_seconds(max(last_event_at) over earlier_parts) as seconds_since_earlier_parts,
        row_number() over later_parts_first = 1 as is_last
    from {{ ref('int_session_parts') }}
    window
        earlier_parts as (
            partition by user_id, session_id
            order by activity_date, first_event_at
            rows between unbounded preceding and 1 preceding
        ),
        later_parts_first as (
            partition by user_id, session_id
            order by last_event_at desc, registered_at, gender, location, user_agent
        )

),

paused_parts as (

    -- nobody listens for a month: a session id that comes again after more than a day is a counter
    -- that began anew, or a log in pieces, and the time between is no part of the session
    select
        *,
        case when seconds_since_earlier_parts > 86400 then seconds_since_earlier_parts end
            as pause_seconds
    from parts

),

sessions as (

    -- a session belongs to the date on which it starts, its events to their own dates; two plans
    -- within one millisecond count as paid
    select
        user_id,
        session_id,
        min(activity_date) as session_date,
        min(first_event_at) as started_at,
        max(last_event_at) as ended_at,
        unix_seconds(max(last_event_at)) - unix_seconds(min(first_event_at))
        - coalesce(sum(pause_seconds), 0) as session_seconds,
        coalesce(sum(pause_seconds), 0) as pause_seconds,
        max(case when pause_seconds is not null then activity_date end) as last_resumed_date,
        max(case when is_last then registered_at end) as registered_at,
        max(case when is_last then gender end) as gender,
        max(case when is_last then location end) as location,
        max(case when is_last then user_agent end) as user_agent,
        coalesce(min(first_paid_event_at) <= min(first_free_event_at), sum(paid_events) > 0)
            as is_paid_at_start,
        coalesce(max(last_paid_event_at) >= max(last_free_event_at), sum(paid_events) > 0)
            as is_paid_at_end,
        min_by(first_page_category, first_event_order) as first_page_category,
        max_by(last_page_category, last_event_order) as last_page_category,
        sum(events) as events,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds,
        sum(thumbs_up) as thumbs_up,
        sum(thumbs_down) as thumbs_down,
        sum(playlist_adds) as playlist_adds,
        sum(friend_adds) as friend_adds,
        sum(adverts) as adverts,
        sum(errors) as errors
    from paused_parts
    group by user_id, session_id

),

read_profiles as (

    select
        *,
        nullif(trim(split_part(location, ',', 1)), '') as metro_area,
        upper(regexp_extract(location, '^[^,]*, *([A-Za-z]{2})(-[A-Za-z]{2})* *$', 1))
            as first_code,
        case
            when user_agent like '%iPhone%' then 'iPhone'
            when user_agent like '%iPad%' then 'iPad'
            when user_agent like '%Android%' then 'Android'
            when user_agent like '%Macintosh%' then 'Mac'
            when user_agent like '%Windows%' then 'Windows'
            when user_agent like '%Linux%' then 'Linux'
            when user_agent is not null then 'other'
        end as platform
    from sessions

),

with_states as (

    select
        * except (first_code),
        -- the states, DC and the territories: two letters can also be a country
        case
            when first_code in (
                    'AK', 'AL', 'AR', 'AS', 'AZ', 'CA', 'CO', 'CT', 'DC', 'DE', 'FL', 'GA',
                    'GU', 'HI', 'IA', 'ID', 'IL', 'IN', 'KS', 'KY', 'LA', 'MA', 'MD', 'ME',
                    'MI', 'MN', 'MO', 'MP', 'MS', 'MT', 'NC', 'ND', 'NE', 'NH', 'NJ', 'NM',
                    'NV', 'NY', 'OH', 'OK', 'OR', 'PA', 'PR', 'RI', 'SC', 'SD', 'TN', 'TX',
                    'UT', 'VA', 'VI', 'VT', 'WA', 'WI', 'WV', 'WY'
                ) then first_code
        end as state
    from read_profiles

)

select * from with_states
