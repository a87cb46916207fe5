-- Which columns lack values?
-- Of users, all columns where a null means that something is unknown; of today's features, one of
-- each kind that can be null, where it means "never", or a ratio to nothing.
with

users as (

    select
        count(*) as total_rows,
        count_if(registered_at is null) as registered_at,
        count_if(gender is null) as gender,
        count_if(location is null) as location,
        count_if(metro_area is null) as metro_area,
        count_if(state is null) as state,
        count_if(platform is null) as platform,
        count_if(is_paid is null) as is_paid,
        count_if(level is null) as level,
        count_if(first_event_at is null) as first_event_at,
        count_if(last_event_at is null) as last_event_at,
        count_if(active_days is null) as active_days,
        count_if(sessions is null) as sessions,
        count_if(events is null) as events,
        count_if(songs is null) as songs,
        count_if(distinct_songs is null) as distinct_songs,
        count_if(listening_milliseconds is null) as listening_milliseconds
    from {{ target.schema }}_published.dim_users

),

today as (

    select current_snapshot_date
    from {{ target.schema }}_published.churn_calendar

),

features as (

    select
        count(*) as total_rows,
        count_if(tenure_days is null) as tenure_days,
        count_if(hours_since_last_song is null) as hours_since_last_song,
        count_if(hours_since_last_advert is null) as hours_since_last_advert,
        count_if(hours_since_last_thumbs_down is null) as hours_since_last_thumbs_down,
        count_if(hours_since_last_error is null) as hours_since_last_error,
        count_if(hours_since_last_downgrade_visit is null) as hours_since_last_downgrade_visit,
        count_if(hours_since_last_upgrade_visit is null) as hours_since_last_upgrade_visit,
        count_if(thumbs_up_per_song_last_28_days is null) as thumbs_up_per_song_last_28_days,
        count_if(songs_per_session_last_28_days is null) as songs_per_session_last_28_days,
        count_if(songs_trend_7_over_21_days is null) as songs_trend_7_over_21_days,
        count_if(sessions_trend_7_over_21_days is null) as sessions_trend_7_over_21_days,
        count_if(thumbs_up_per_song_to_date is null) as thumbs_up_per_song_to_date,
        count_if(session_ends_per_advert_to_date is null) as session_ends_per_advert_to_date,
        count_if(upgrade_visits_per_free_song_to_date is null)
            as upgrade_visits_per_free_song_to_date,
        count_if(downgrade_visits_per_paid_song_to_date is null)
            as downgrade_visits_per_paid_song_to_date,
        count_if(idle_hours_per_session_to_date is null) as idle_hours_per_session_to_date
    from {{ target.schema }}_published.churn_features
    where snapshot_date = (select current_snapshot_date from today)

),

missing_values as (

    select
        'dim_users' as mart,
        column_name,
        missing_rows,
        total_rows
    from users
        unpivot (
            missing_rows for column_name in (
                registered_at, gender, location, metro_area, state, platform, is_paid, level,
                first_event_at, last_event_at, active_days, sessions, events, songs,
                distinct_songs, listening_milliseconds
            )
        )
    union all
    select
        'churn_features' as mart,
        column_name,
        missing_rows,
        total_rows
    from features
        unpivot (
            missing_rows for column_name in (
                tenure_days, hours_since_last_song, hours_since_last_advert,
                hours_since_last_thumbs_down, hours_since_last_error,
                hours_since_last_downgrade_visit, hours_since_last_upgrade_visit,
                thumbs_up_per_song_last_28_days, songs_per_session_last_28_days,
                songs_trend_7_over_21_days, sessions_trend_7_over_21_days,
                thumbs_up_per_song_to_date, session_ends_per_advert_to_date,
                upgrade_visits_per_free_song_to_date, downgrade_visits_per_paid_song_to_date,
                idle_hours_per_session_to_date
            )
        )

)

select
    mart,
    column_name,
    missing_rows,
    total_rows,
    try_divide(missing_rows, total_rows) as missing_share
from missing_values
order by missing_rows desc, mart desc, column_name
