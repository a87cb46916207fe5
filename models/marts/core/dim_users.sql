with

user_days as (

    select * from {{ ref('fct_user_days') }}

),

sessions as (

    select
        *,
        row_number() over (
            partition by user_id
            order by ended_at desc, registered_at, gender, location, user_agent, session_id
        ) = 1 as is_last
    from {{ ref('fct_sessions') }}

),

activity as (

    select
        user_id,
        count(*) as active_days,
        sum(events) as events,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds,
        min(first_event_at) as first_event_at,
        max(last_event_at) as last_event_at,
        max_by(is_paid, activity_date) as is_paid
    from user_days
    group by user_id

),

session_counts as (

    select
        user_id,
        count(*) as sessions
    from sessions
    group by user_id

),

profiles as (

    select
        user_id,
        registered_at,
        gender,
        location,
        metro_area,
        state,
        platform
    from sessions
    where is_last

),

variety as (

    select
        user_id,
        count(*) as distinct_songs
    from {{ ref('int_user_songs') }}
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
        session_counts.sessions,
        activity.events,
        activity.songs,
        coalesce(variety.distinct_songs, 0) as distinct_songs,
        activity.listening_milliseconds
    from activity
    inner join profiles on activity.user_id = profiles.user_id
    inner join session_counts on activity.user_id = session_counts.user_id
    left join variety on activity.user_id = variety.user_id
    left join cancellations on activity.user_id = cancellations.user_id

)

select * from users
