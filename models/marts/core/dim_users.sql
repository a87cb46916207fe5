{{
    config(
        meta={'updated_by': 'days'},
    )
}}

with

activity as (

    select
        user_id,
        count(*) as active_days,
        sum(events) as events,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds,
        min(first_event_at) as first_event_at,
        max(last_event_at) as last_event_at,
        coalesce(max(last_paid_event_at) >= max(last_free_event_at), sum(paid_events) > 0)
            as is_paid
    from {{ ref('fct_user_days') }}
    group by user_id

),

seen_profiles as (

    -- a join with the few last instants, not an aggregate: a `max_by` of strings sorts all events.
    -- Of the lines: in `stg_events` the texts of all events pass a union before the join. What that
    -- view leaves out has no such instant, or is a line twice
    select
        lines.user_id,
        lines.registered_at,
        lines.gender,
        lines.location,
        lines.user_agent,
        row_number() over (
            partition by lines.user_id
            order by
                lines.registered_at,
                lines.gender,
                lines.location,
                trim(both '"' from lines.user_agent)
        ) as profile_rank
    from {{ ref('base_events') }} as lines
    inner join activity
        on
            lines.user_id = activity.user_id
            and lines.event_at = activity.last_event_at
    where {{ in_changed('lines.event_date') }}

),

last_profiles as (

    select
        user_id,
        registered_at,
        gender,
        location,
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
    from seen_profiles
    where profile_rank = 1

),

profiles as (

    select
        user_id,
        registered_at,
        gender,
        location,
        metro_area,
        -- the states, DC and the territories: two letters can also be a country
        case
            when first_code in (
                    'AK', 'AL', 'AR', 'AS', 'AZ', 'CA', 'CO', 'CT', 'DC', 'DE', 'FL', 'GA',
                    'GU', 'HI', 'IA', 'ID', 'IL', 'IN', 'KS', 'KY', 'LA', 'MA', 'MD', 'ME',
                    'MI', 'MN', 'MO', 'MP', 'MS', 'MT', 'NC', 'ND', 'NE', 'NH', 'NJ', 'NM',
                    'NV', 'NY', 'OH', 'OK', 'OR', 'PA', 'PR', 'RI', 'SC', 'SD', 'TN', 'TX',
                    'UT', 'VA', 'VI', 'VT', 'WA', 'WI', 'WV', 'WY'
                ) then first_code
        end as state,
        platform
    from last_profiles
    {%- if is_update() %}
    union all
    -- whose last event is on no changed date
    select
        user_id,
        registered_at,
        gender,
        location,
        metro_area,
        state,
        platform
    from {{ this }}
    where user_id not in (select user_id from seen_profiles)
    {%- endif %}

),

sessions as (

    select
        user_id,
        count(*) as sessions
    from {{ ref('stg_sessions') }}
    group by user_id

),

variety as (

    select
        user_id,
        count(*) as distinct_songs
    from {{ ref('stg_user_songs') }}
    group by user_id

),

cancellations as (

    select
        user_id,
        min(changed_at) as churned_at
    from {{ ref('fct_subscription_changes') }}
    where change_type = 'cancellation'
    group by user_id

),

users as (

    select
        activity.user_id,
        profiles.registered_at,
        coalesce(profiles.registered_at > activity.first_event_at, false)
            as is_registered_after_first_event,
        profiles.gender,
        profiles.location,
        profiles.metro_area,
        profiles.state,
        profiles.platform,
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
    left join cancellations on activity.user_id = cancellations.user_id

)

select * from users
