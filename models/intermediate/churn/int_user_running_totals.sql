-- Sums over any window are differences of two of these totals, so that the windows of
-- `churn_features` need no second pass over the days. The first event of a date is paired here
-- with the last event before it, on whatever date that was.
with

days as (

    select
        user_days.*,
        transitions.* except (user_id, activity_date, first_event_at, last_event_at),
        lag(user_days.activity_date) over user_dates as previous_activity_date,
        lead(user_days.activity_date) over user_dates as next_activity_date,
        lag(transitions.last_event_at) over user_dates as previous_event_at,
        lag(transitions.last_session_id) over user_dates as previous_session_id,
        lag(transitions.last_page_category) over user_dates as previous_page_category,
        lag(transitions.last_is_paid) over user_dates as was_paid
    from {{ ref('fct_user_days') }} as user_days
    inner join {{ ref('int_user_day_transitions') }} as transitions
        on
            user_days.user_id = transitions.user_id
            and user_days.activity_date = transitions.activity_date
    window user_dates as (partition by user_days.user_id order by user_days.activity_date)

),

paired_days as (

    -- the page after a song is of the same session
    select
        *,
        first_session_id is distinct from previous_session_id as is_session_start,
        previous_page_category = 'song' and was_paid as follows_paid_song,
        previous_page_category = 'song' and not was_paid as follows_free_song,
        case when follows_paid_song and not is_session_start then first_page_category end
            as page_after_song_paid,
        case when follows_free_song and not is_session_start then first_page_category end
            as page_after_song_free
    from days

),

totals as (

    select
        user_id,
        activity_date,
        is_paid,
        min(activity_date) over past as first_activity_date,
        min(registered_at) over past as registered_at,
        count(*) over past as active_days_to_date,
        sum(events) over past as events_to_date,
        sum(paid_events) over past as paid_events_to_date,
        sum(songs) over past as songs_to_date,
        sum(listening_milliseconds) over past as listening_milliseconds_to_date,
        sum(thumbs_up) over past as thumbs_up_to_date,
        sum(thumbs_down) over past as thumbs_down_to_date,
        sum(playlist_adds) over past as playlist_adds_to_date,
        sum(friend_adds) over past as friend_adds_to_date,
        sum(adverts) over past as adverts_to_date,
        sum(errors) over past as errors_to_date,
        sum(home_visits) over past as home_visits_to_date,
        sum(help_visits) over past as help_visits_to_date,
        sum(settings_visits) over past as settings_visits_to_date,
        sum(logouts) over past as logouts_to_date,
        sum(upgrade_visits) over past as upgrade_visits_to_date,
        sum(downgrade_visits) over past as downgrade_visits_to_date,
        sum(cancellations) over past as cancellations_to_date,
        sum(session_changes + if(is_session_start, 1, 0)) over past as session_starts_to_date,
        sum(
            idle_seconds + case
                when is_session_start and previous_event_at is not null
                    then unix_seconds(first_event_at) - unix_seconds(previous_event_at)
                else 0
            end
        ) over past as idle_seconds_to_date,
        sum(events_after_song_paid + if(follows_paid_song, 1, 0)) over past
            as events_after_song_paid_to_date,
        sum(events_after_song_free + if(follows_free_song, 1, 0)) over past
            as events_after_song_free_to_date,
        sum(session_ends_after_song_paid + if(follows_paid_song and is_session_start, 1, 0))
            over past as session_ends_after_song_paid_to_date,
        sum(session_ends_after_song_free + if(follows_free_song and is_session_start, 1, 0))
            over past as session_ends_after_song_free_to_date,
        sum(
            session_ends_after_advert
            + if(previous_page_category = 'advert' and is_session_start, 1, 0)
        ) over past as session_ends_after_advert_to_date,
        sum(adverts_after_song_paid + if(page_after_song_paid = 'advert', 1, 0)) over past
            as adverts_after_song_paid_to_date,
        sum(adverts_after_song_free + if(page_after_song_free = 'advert', 1, 0)) over past
            as adverts_after_song_free_to_date,
        sum(thumbs_up_after_song_paid + if(page_after_song_paid = 'thumbs_up', 1, 0)) over past
            as thumbs_up_after_song_paid_to_date,
        sum(thumbs_up_after_song_free + if(page_after_song_free = 'thumbs_up', 1, 0)) over past
            as thumbs_up_after_song_free_to_date,
        sum(thumbs_down_after_song_paid + if(page_after_song_paid = 'thumbs_down', 1, 0)) over past
            as thumbs_down_after_song_paid_to_date,
        sum(thumbs_down_after_song_free + if(page_after_song_free = 'thumbs_down', 1, 0)) over past
            as thumbs_down_after_song_free_to_date,
        sum(upgrade_visits_after_song_free + if(page_after_song_free = 'upgrade_visit', 1, 0))
            over past as upgrade_visits_after_song_free_to_date,
        sum(downgrade_visits_after_song_paid + if(page_after_song_paid = 'downgrade_visit', 1, 0))
            over past as downgrade_visits_after_song_paid_to_date,
        max(coalesce(last_session_change_at, if(is_session_start, first_event_at, null))) over past
            as last_session_started_at,
        max(last_event_at) over past as last_event_at,
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
        max(
            case
                when coalesce(datediff(activity_date, previous_activity_date) > 28, true)
                    then activity_date
            end
        ) over past as stretch_started_on
    from paired_days
    window past as (
        partition by user_id
        order by activity_date
        rows between unbounded preceding and current row
    )

)

select * from totals
