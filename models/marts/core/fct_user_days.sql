{{
    config(
        meta={'updated_by': 'days'},
        partition_by=['activity_date'],
    )
}}

with

session_parts as (

    select * from {{ ref('int_session_parts') }}
    where {{ in_changed('activity_date') }}

),

user_days as (

    select
        user_id,
        activity_date,
        count(distinct session_id) as sessions,
        sum(events) as events,
        sum(paid_events) as paid_events,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds,
        sum(thumbs_up) as thumbs_up,
        sum(thumbs_down) as thumbs_down,
        sum(playlist_adds) as playlist_adds,
        sum(friend_adds) as friend_adds,
        sum(adverts) as adverts,
        sum(errors) as errors,
        sum(home_visits) as home_visits,
        sum(help_visits) as help_visits,
        sum(settings_visits) as settings_visits,
        sum(logouts) as logouts,
        sum(upgrade_visits) as upgrade_visits,
        sum(downgrade_visits) as downgrade_visits,
        sum(upgrades) as upgrades,
        sum(downgrades) as downgrades,
        sum(cancellations) as cancellations,
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
    from session_parts
    group by user_id, activity_date

),

with_plan as (

    select
        *,
        -- the plan of the last event; two plans within one millisecond count as paid
        coalesce(last_paid_event_at >= last_free_event_at, paid_events > 0) as is_paid
    from user_days

)

select * from with_plan
